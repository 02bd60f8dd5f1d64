"""Runs HAProxy with deploy/haproxy.cfg, in which only addresses, files and servers are changed."""

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
"""Path of the program; None: it is neither installed (apt install haproxy) nor named by EDEN_HAPROXY."""

BEHIND = {"disable_token_authorization": True}
"""Changes to config.properties of a server behind it: HAProxy asks callers for their keys."""


@dataclass(frozen=True)
class Proxy:
    """A running HAProxy."""

    url: str
    operator: str
    """address of its page for operators"""
    key: str
    """which callers send as their token"""
    stats: Path
    """path of its admin socket"""

    def servers(self) -> dict[str, dict[str, str]]:
        """Its statistics of each server, by name: `status`, calls under way (`scur`), retries (`wretr`) and so on."""
        head, *rows = self.say("show stat").lstrip("# ").strip().splitlines()
        names = head.split(",")
        told = (dict(zip(names, row.split(","), strict=True)) for row in rows)
        return {row["svname"]: row for row in told if row["pxname"] == "eden" and row["svname"] != "BACKEND"}

    def up(self) -> list[str]:
        """Names of the servers to which it sends calls."""
        return [name for name, row in self.servers().items() if row["status"].startswith("UP")]

    def say(self, line: str) -> str:
        """Send a command to its admin socket. Returns the answer."""
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
    """Write a configuration into `folder`: deploy/haproxy.cfg for these servers. Returns its path.

    port, operator  where HAProxy listens on loopback, for callers and for operators

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
    """Run HAProxy before these servers, whether or not they run yet; its log is `folder`/haproxy.log.

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
    """The servers' ports, by the names that servers get here: a, b, c and so on."""
    return {chr(ord("a") + number): each.ports for number, each in enumerate(servers)}


def _put(text: str, found: re.Match[str]) -> str:
    """`text` in place of what was found; what was found, where `text` is empty."""
    return text or found[0]
