"""TorchServes that run from a folder on this machine: their addresses and key files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from eden_client.api.sessions import host_and_port, is_loopback
from eden_client.api.tokens import FixedToken, KeyFile, Token

FOLDERS = (Path("run/server"), Path())
"""TorchServe's working folders below the project: that of `make serve`, and that of a plain start."""

KEY_FILE = "key_file.json"


@dataclass(frozen=True)
class LocalServer:
    """A TorchServe with its key file. Addresses are host and port."""

    key_file: Path
    inference: tuple[str, int]
    grpc: tuple[str, int]
    management: str
    """A URL: where its tokens are renewed."""
    metrics: str
    """URL of its metrics."""

    def is_at(self, server: str) -> bool:
        """Whether `server`, an HTTP or gRPC address, is this one; not if it is another host's with the same port."""
        try:
            host, port = host_and_port(server)
        except ValueError:
            return False
        host = "127.0.0.1" if host == "localhost" else host
        return is_loopback(server) and (host, port) in (self.inference, self.grpc)


def local_server(key_file: Path) -> LocalServer | None:
    """The server that wrote this key file, by the configuration in its folder; None where there is none."""
    file = _configuration(key_file.parent)
    if file is None or not key_file.exists():
        return None
    # As Java writes it: http\://127.0.0.1\:8080
    lines = (line.strip().partition("=") for line in file.read_text(encoding="latin-1").splitlines())
    said = {key.strip(): re.sub(r"\\(.)", r"\1", value.strip()) for key, _, value in lines}
    management = said.get("management_address", "http://127.0.0.1:8081")
    metrics = said.get("metrics_address", "http://127.0.0.1:8082")
    grpc = f"{said.get('grpc_inference_address', '127.0.0.1')}:{said.get('grpc_inference_port', '7070')}"
    return LocalServer(
        key_file,
        _reached(said.get("inference_address", "http://127.0.0.1:8080")),
        _reached(grpc),
        management.replace("//0.0.0.0:", "//127.0.0.1:"),
        metrics.replace("//0.0.0.0:", "//127.0.0.1:"),
    )


def local_key_file(server: str, root: Path = Path()) -> Path | None:
    """The key file of `server` if it runs from `root`, else None: a token is sent only to its own server."""
    for folder in FOLDERS:
        local = local_server(root / folder / KEY_FILE)
        if local and local.is_at(server):
            return local.key_file
    return None


def token_for(
    server: str, token: str | None, key_file: Path | None, management: str | None, ca_file: Path | None = None
) -> Token:
    """The token for `server`: `token`, or the one in `key_file`, renewed at the URL `management`.

    management: default: the management address of the server that wrote the key file, if `server` is that one; else the
    token is not renewed.
    """
    if token is not None or key_file is None:
        return FixedToken(token, server)
    local = local_server(key_file)
    return KeyFile(key_file, management or (local.management if local and local.is_at(server) else None), ca_file)


def _configuration(folder: Path) -> Path | None:
    """The configuration that the TorchServe in this folder reads: `make serve`'s, its last snapshot or its own file."""
    snapshots = sorted(folder.glob("logs/config/*shutdown.cfg"), key=lambda path: path.stat().st_mtime, reverse=True)
    candidates = [folder / ".eden-server/config.properties", *snapshots, folder / "config.properties"]
    return next((path for path in candidates if path.is_file()), None)


def _reached(address: str) -> tuple[str, int]:
    host, port = host_and_port(address)
    return ("127.0.0.1" if host == "0.0.0.0" else host), port
