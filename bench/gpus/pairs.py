"""Measures pairs behind HAProxy, with a TorchServe of the fused model per GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import psutil

from bench.capacity.plan import Setting
from bench.capacity.samples import Gpus
from bench.cluster.nodes import Share
from bench.proxy import haproxy
from bench.topologies import frames, served
from bench.topologies.load import Generators, Target
from bench.topologies.plan import FUSED, Plan, Serving, Work
from server import Server

WORKERS = 4
"""Workers per server."""
USERS = 96
"""Callers per server; those of four servers are fewer than HAProxy's maxconn."""
GENERATORS = 4
"""Processes per server in which the callers run."""
BUFFER = 256 << 10
"""Bytes of HAProxy's buffers. A pair of 480x854 fits in: only then can HAProxy resend it (docs/scaling.md)."""
START_S = 240.0
"""Seconds that a server may take to start."""
UP_S = 60.0
"""Seconds within which HAProxy must send calls to all servers."""


class Servers:
    """A server for each share of the machine. They start side by side, and are stopped at the end of the block."""

    def __init__(self, shares: Sequence[Share], plan: Plan, checkpoint: Path, precision: str, folder: Path) -> None:
        self._shares, self._folder = shares, folder
        with_gpus = shares[0].gpu is not None
        self.works = [work for work in plan.works if work.clip == 2]
        self._plan = replace(plan, warm_sizes=tuple(work.size for work in self.works) if plan.warm_sizes else ())
        setting = Setting(topology="fused", batch=8, delay=3, fused_workers=WORKERS if with_gpus else 1)
        self._users = USERS if with_gpus else 4
        self._generators = GENERATORS if with_gpus else 1
        served.pack(Serving(FUSED, setting), self._plan, checkpoint, precision, folder / "store")
        for work in self.works:
            frames.draw(work, folder)
        self._servers = [
            Server(folder / "store", folder / f"server{number}", "free", _SETTINGS, share.environment())
            for number, share in enumerate(shares)
        ]
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for server in self._servers:
                opened.callback(server.stop)
            with ThreadPoolExecutor(len(self._servers)) as starting:
                list(starting.map(_start, self._servers, self._shares))
            processes = self._generators * len(self._shares)
            self._load = opened.enter_context(Generators(processes))
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def measure(self, count: int, work: Work) -> dict[str, Any]:
        """Measure the first `count` servers behind HAProxy, while callers send them one kind of work.

        Raises TimeoutError: HAProxy does not send calls to all of them.
        """
        servers, plan = self._servers[:count], self._plan
        folder = self._folder / f"haproxy{count}-{work.file}"
        folder.mkdir()
        with haproxy.running(haproxy.ports_of(servers), folder, buffer=BUFFER) as proxy, Gpus() as gpus:
            deadline = time.monotonic() + UP_S
            while len(proxy.up()) < count:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"HAProxy sends calls only to {proxy.up()} after {UP_S:g} s")
                time.sleep(0.1)
            aim = Target(
                proxy.url,
                servers[0].topology.paths[0],
                {"Authorization": f"Bearer {proxy.key}"},
                tuple(frames.bodies(work, self._folder)),
                work.format,
                work.pairs,
                work.size,
            )
            before, began = _cpu(servers), time.monotonic()
            row = self._load.measure(
                aim, self._users * count, plan.warm_seconds, plan.window_seconds, 10 * plan.warm_seconds
            )
            cores = (_cpu(servers) - before) / (time.monotonic() - began)
            busy = gpus.between(row.pop("began"), row.pop("ended"))
        return {
            "part": "pairs",
            "gpus": count,
            "work": work.name,
            **row,
            "server_cores": cores,
            "gpu_busy": [busy[f"gpu{number}_busy"] for number in range(count) if f"gpu{number}_busy" in busy],
        }


_SETTINGS = haproxy.BEHIND | {"disable_system_metrics": True}


def _start(server: Server, share: Share) -> None:
    if share.cores:
        os.sched_setaffinity(0, share.cores)  # of this thread, and so of what it starts
    server.start(timeout=START_S)


def _cpu(servers: Sequence[Server]) -> float:
    """Seconds of processor time that servers and their workers have used."""
    total = 0.0
    for server in servers:
        java = psutil.Process(server.java_pid)
        for each in (java, *java.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total
