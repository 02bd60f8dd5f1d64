"""Starts the nodes of a Ray cluster on one machine: each is a `ray start` in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

PATIENCE = 120.0
"""Seconds that a node may take to start."""
STORE = 256 << 20
"""Bytes of a node's object store."""
_DEFAULTS = {"RAY_DISABLE_USAGE_STATS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Share:
    """The part of its machine that a node may use."""

    processors: int
    cores: tuple[int, ...] = ()
    """cores to which it is bound; empty: to none"""
    gpu: int | None = None

    def command(self) -> list[str]:
        """The beginning of a command line that is to use this share."""
        return ["taskset", "--cpu-list", ",".join(map(str, self.cores))] if self.cores else []

    def environment(self) -> dict[str, str]:
        """Environment variables of a command that is to use this share."""
        return {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": str(self.gpu)}


class Node:
    """A node of the cluster."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process, self.folder = process, folder

    def processes(self) -> list[psutil.Process]:
        """Its `ray start` and all processes below it; empty: it has ended."""
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def names(self) -> list[str]:
        """Names of its processes; that of a worker at work says which task it runs (ray::_make)."""
        names = list[str]()
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                names.append(each.name())
        return names

    def kill(self) -> None:
        """Kill all its processes (SIGKILL), as when a machine loses its power."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> None:
        """Raises RuntimeError: it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a node ended: {(self.folder / 'log').read_text()[-2000:]}")


class Nodes:
    """A cluster, whose nodes are killed at the end of the block.

    environment  variables of the nodes' processes, besides this one's
    store        bytes of each node's object store
    """

    def __init__(self, environment: Mapping[str, str] | None = None, store: int = STORE) -> None:
        self._environment, self._store = {**os.environ, **_DEFAULTS, **(environment or {})}, store
        self._nodes: list[Node] = []
        self.address = ""
        """address of the head node, for ray.init and --ray"""

    def start_head(self, share: int | Share) -> Node:
        """Start the first node. The cluster can be reached when this returns. Raises OSError or RuntimeError."""
        import ray

        host, port = ray.util.get_node_ip_address(), _free_port()
        clients = _free_port()
        head = self._start(
            share, "--head", f"--port={port}", f"--ray-client-server-port={clients}", "--include-dashboard=false"
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((host, port), 1).close()
                break
            except OSError:
                head.check()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.address = f"{host}:{port}"
        return head

    def add(self, share: int | Share) -> Node:
        """Start another node, with so many processors or this share. It joins the cluster some seconds later."""
        # With an address of its own: a driver takes a node with its host's address as its own; that must be the head.
        host = f"127.0.1.{len(self._nodes)}"
        return self._start(share, f"--address={self.address}", f"--node-ip-address={host}")

    def _start(self, share: int | Share, *options: str) -> Node:
        share = Share(share) if isinstance(share, int) else share
        folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: sockets lie in it
        command = [*share.command(), sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += [f"--num-cpus={share.processors}"] + ([] if share.gpu is None else ["--num-gpus=1"])
        command += [f"--temp-dir={folder}", f"--object-store-memory={self._store}", "--disable-usage-stats", *options]
        environment = self._environment | share.environment()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self._nodes.append(Node(process, folder))
        return self._nodes[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self._nodes):
            node.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
