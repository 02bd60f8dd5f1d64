"""HAProxy with the configuration that ships, but for its addresses, files and servers: deploy/haproxy.cfg."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests

from server import Server
from server.settings import PROJECT, Ports

CONFIGURATION = PROJECT / "deploy" / "haproxy.cfg"
PROGRAM = (
    os.environ.get("EDEN_HAPROXY")
    or shutil.which("haproxy")
    or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
)
"""None where it is not installed (apt install haproxy), nor named by EDEN_HAPROXY."""

BEHIND = {"disable_token_authorization": True}
"""Changes to config.properties of a server behind it: HAProxy asks callers for their keys."""


@dataclass(frozen=True)
class Proxy:
    """A HAProxy that runs."""

    url: str
    operator: str
    """where it tells how it goes"""
    key: str
    """a caller's"""
    stats: Path
    """its admin socket"""

    def servers(self) -> dict[str, dict[str, str]]:
        """What it knows of each server, by name: its `status`, calls under way (`scur`), retries (`wretr`) ..."""
        head, *rows = self.say("show stat").lstrip("# ").strip().splitlines()
        names = head.split(",")
        told = (dict(zip(names, row.split(","), strict=True)) for row in rows)
        return {row["svname"]: row for row in told if row["pxname"] == "eden" and row["svname"] != "BACKEND"}

    def up(self) -> list[str]:
        """The servers to which it sends calls."""
        return [name for name, row in self.servers().items() if row["status"].startswith("UP")]

    def say(self, line: str) -> str:
        """A command of its admin socket, and the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.stats))
            connection.sendall(f"{line}\n".encode())
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        return b"".join(parts).decode()


def configured(
    servers: Mapping[str, Ports], port: int, operator: int, folder: Path, key: str, buffer: int | None = None
) -> Path:
    """The shipped configuration, on these ports of loopback, for these servers, with its files in `folder`.

    buffer   tune.bufsize, bytes; None: as it ships
    """
    callers, stats = folder / "callers.map", folder / "haproxy.sock"
    callers.write_text(f"{hashlib.sha256(key.encode()).hexdigest()} bench\n")
    text = CONFIGURATION.read_text()
    lines = [f"    server {name} 127.0.0.1:{at.inference} port {at.health}\n" for name, at in servers.items()]
    for pattern, put in (
        (r"(?m)(^    server .*\n)+", "".join(lines)),
        (r"bind 127\.0\.0\.1:8090", f"bind 127.0.0.1:{port}"),
        (r"bind 127\.0\.0\.1:8404", f"bind 127.0.0.1:{operator}"),
        (r"/etc/haproxy/eden-callers\.map(?=\))", str(callers)),
        (r"stats socket \S+", f"stats socket {stats}"),
        (r"log /dev/log local0", "log stdout format raw local0"),
        (r"tune\.bufsize \d+", f"tune.bufsize {buffer}" if buffer else ""),
    ):
        text, count = re.subn(pattern, partial(_put, put), text)
        assert count == 1, f"{pattern} is {count} times in {CONFIGURATION}"
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return path


@contextlib.contextmanager
def running(
    servers: Mapping[str, Ports], folder: Path, key: str = "a-caller-s-own", buffer: int | None = None
) -> Iterator[Proxy]:
    """HAProxy before these servers, whether or not they run yet; its log is `folder`/haproxy.log.

    buffer   tune.bufsize, bytes; None: as it ships

    Raises FileNotFoundError where HAProxy is not installed, RuntimeError where it does not start.
    """
    if PROGRAM is None:
        raise FileNotFoundError("haproxy is not installed (apt install haproxy)")
    ports = Ports.free()
    configuration = configured(servers, ports.inference, ports.management, folder, key, buffer)
    proxy = Proxy(
        f"http://127.0.0.1:{ports.inference}", f"http://127.0.0.1:{ports.management}", key, folder / "haproxy.sock"
    )
    with (folder / "haproxy.log").open("ab") as log:
        process = subprocess.Popen([PROGRAM, "-db", "-f", configuration], stdout=log, stderr=log)
    try:
        while process.poll() is None and not _answers(proxy):
            time.sleep(0.05)
        if process.poll() is not None:
            raise RuntimeError((folder / "haproxy.log").read_text())
        yield proxy
    finally:
        process.terminate()
        process.wait()


def _answers(proxy: Proxy) -> bool:
    try:
        return requests.get(f"{proxy.operator}/metrics", timeout=60).status_code == 200
    except requests.ConnectionError:
        return False


def ports_of(servers: Sequence[Server]) -> dict[str, Ports]:
    """Ports of servers by the names that they get: a, b, c ..."""
    return {chr(ord("a") + number): each.ports for number, each in enumerate(servers)}


def _put(text: str, found: re.Match[str]) -> str:
    """What stands in place of what was found; that itself where there is nothing to put."""
    return text or found[0]
