"""The paths of this project's files, and a server's configuration: config.properties with changes."""

import itertools
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parent.parent
"""The folder with this project's packages: a checkout, or where pip installed them."""
IN_CHECKOUT = (PROJECT / "archive.sh").is_file()
COMMAND = "python -m server" if IN_CHECKOUT else "eden-serve"
PACK = "./archive.sh" if IN_CHECKOUT else f"{COMMAND} pack"

SHIPPED = PROJECT if IN_CHECKOUT else PROJECT / "server" / "shipped"
"""The folder of files that are not modules. In a checkout, server/shipped links to them, so that they are installed."""
CONFIG = SHIPPED / "config.properties"
WORKFLOW = SHIPPED / "workflow" / "eden.yaml"
DEMO_WEIGHTS = SHIPPED / "weights" / "demo"

HOME = PROJECT if IN_CHECKOUT else Path()
"""The folder of model_store/ and run/: the checkout, else the current folder."""
MODEL_STORE = HOME / "model_store"
FOLDER = HOME / "run" / "server"


def read_properties(path: Path) -> dict[str, str]:
    """The `key=value` lines of a properties file, without Java's escapes; comments (#, !) are skipped."""
    lines = (line.strip() for line in path.read_text(encoding="latin-1").splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#!")
    return {key.strip(): _unescaped(value.strip()) for key, _, value in pairs}


def write_properties(path: Path, properties: Mapping[str, object]) -> None:
    """Write a properties file that Java reads back unchanged: it expects Latin-1, and backslashes start escapes."""
    lines = (f"{key}={_escaped(_text(value))}\n" for key, value in properties.items())
    path.write_text("".join(lines), encoding="ascii")


ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def _escaped(value: str) -> str:
    value = value.replace("\\", "\\\\")
    for letter, character in ESCAPES.items():
        value = value.replace(character, f"\\{letter}")
    kept = len(value) - len(value.lstrip(" "))
    return "\\ " * kept + "".join(each if each.isascii() else _utf_16(each) for each in value[kept:])


def _utf_16(character: str) -> str:
    code = character.encode("utf-16-be").hex()
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4))


def _unescaped(value: str) -> str:
    def one(match: re.Match[str]) -> str:
        code, character = match.groups()
        return chr(int(code, 16)) if code else ESCAPES.get(character, character)

    plain = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, value)
    # A pair of surrogates is one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_BELOW_OUTGOING = range(10_000, 32_000)
"""Below Linux's range for outgoing connections (32768 up), which could take a port before its server listens."""
_APART = 131
"""Ports that one process tries before it reaches those where the next process began."""
_asked = itertools.count()


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one server."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int
    health: int | None = None
    """None: no health checks"""

    @classmethod
    def free(cls) -> Self:
        """Six ports in a row that nobody listens on; processes that ask at once try different ranges.

        Raises OSError if there are none.
        """
        count = len(fields(cls))
        blocks = len(_BELOW_OUTGOING) // count
        for _ in range(blocks):
            block = (_APART * os.getpid() + next(_asked)) % blocks
            ports = cls(*_BELOW_OUTGOING[count * block : count * (block + 1)])
            if not ports.taken():
                return ports
        raise OSError(f"no {count} free ports from {_BELOW_OUTGOING.start} to {_BELOW_OUTGOING.stop}")

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Self:
        """The ports that a configuration names."""
        return cls(
            _port(properties["inference_address"]),
            _port(properties["management_address"]),
            _port(properties["metrics_address"]),
            int(properties["grpc_inference_port"]),
            int(properties["grpc_management_port"]),
            _port(health) if (health := properties.get("health_address")) else None,
        )

    def properties(self) -> dict[str, str]:
        return {
            "inference_address": f"http://127.0.0.1:{self.inference}",
            "management_address": f"http://127.0.0.1:{self.management}",
            "metrics_address": f"http://127.0.0.1:{self.metrics}",
            "grpc_inference_port": str(self.grpc_inference),
            "grpc_management_port": str(self.grpc_management),
            "health_address": f"http://127.0.0.1:{self.health}" if self.health else "",
        }

    def all(self) -> list[int]:
        """All ports, without those that are switched off."""
        return [port for port in vars(self).values() if port]

    def taken(self) -> list[int]:
        """The ports that somebody listens on already."""
        return [port for port in self.all() if _is_taken(port)]


def dialled(address: str) -> str:
    """The URL by which this host reaches a bound address; an address of all interfaces is reached by loopback."""
    parts = urlsplit(address)
    host = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname, parts.hostname)
    return f"{parts.scheme}://{f'[{host}]' if ':' in str(host) else host}:{_port(address)}"


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def configuration(ports: Ports | None, changes: Mapping[str, object]) -> dict[str, str]:
    """The project's config.properties with `ports` (None: its own) and `changes`, its paths made absolute."""
    properties = read_properties(CONFIG)
    if ports:
        properties |= ports.properties()
    properties["metrics_config"] = str(PROJECT / properties["metrics_config"])
    return properties | {key: _text(value) for key, value in changes.items()}
