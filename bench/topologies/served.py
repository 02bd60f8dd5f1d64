"""Measures what TorchServe serves: packs archives, starts a server, sends load, and divides a lone caller's time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.capacity.samples import STAGES, Gpus, Readings, Sampler
from bench.topologies import frames as drawn
from bench.topologies.load import Caller, Generators, Target, percentiles
from bench.topologies.plan import Plan, Serving, Work
from handlers.reporter import EVERY
from server import Server
from server.http import request
from server.settings import PROJECT

SCRAPES_S = 10.0
"""Seconds by which the server's metrics may be later than its answers: they travel through logs."""


def pack(serving: Serving, plan: Plan, checkpoint: Path, precision: str, store: Path) -> None:
    """Build a model store that refers to the checkpoint where it lies. Raises RuntimeError: packing failed."""
    command = [str(PROJECT / "archive.sh"), "--output", str(store), "--checkpoint", str(checkpoint), "--in-place"]
    command += ["--precision", precision, *serving.archive_options()]
    if plan.warm_sizes:
        command += ["--set", f"warm={[list(size) for size in plan.warm_sizes]}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"archive.sh failed: {done.stderr}")


@contextmanager
def started(store: Path, folder: Path, timeout: float) -> Iterator[Server]:
    """A running server on free ports, stopped at the end of the block. Raises ServerError: it did not start."""
    server = Server(store, folder, "free", {"disable_system_metrics": True})
    try:
        server.start(timeout=timeout)
        yield server
    finally:
        server.stop()


def measure(
    server: Server, serving: Serving, work: Work, plan: Plan, warm: float, generators: Generators, folder: Path
) -> dict[str, Any]:
    """Measure one kind of work under load, after `warm` seconds of it: answers, and what server and GPUs did."""
    with Gpus() as gpus, Sampler(server, gpus, serving.setting.nodes) as sampler:
        row = generators.measure(
            target(server, work, folder), work.users, warm, plan.window_seconds, most_warm=10 * plan.warm_seconds
        )
        seen = sampler.between(row.pop("began"), row.pop("ended"))
    return _row("served", serving, work) | row | {"seen": seen}


def lone_pair(server: Server, serving: Serving, plan: Plan, folder: Path) -> dict[str, Any]:
    """Measure one caller on an idle server: percentiles of its calls, and the means of their parts, in ms."""
    aim = target(server, plan.lone, folder)
    caller = Caller(aim, [body.path.read_bytes() for body in aim.bodies])
    for number in range(max(3, plan.lone_calls // 10)):
        caller.call(number)
    before = _settled(server)
    calls = [caller.call(number) for number in range(plan.lone_calls)]
    caller.close()
    after = _settled(server, before.sum("eden_pairs_total") + sum(not call.failure for call in calls))
    taken = [call.taken for call in calls if not call.failure]
    row: dict[str, Any] = {"calls": len(calls), "failed": len(calls) - len(taken), **percentiles(taken, (50, 95))}
    if taken:
        row["parts_ms"] = parts(before, after, sum(taken) / len(taken), len(calls))
    return _row("lone", serving, plan.lone) | row


def parts(before: Readings, after: Readings, mean: float, calls: int) -> dict[str, float]:
    """The parts of a call's mean time, in ms: the stages, waiting in TorchServe's queues, and all else.

    mean: seconds of a call. A stage that the topology lacks is left out.
    """

    def gained(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    found = {stage: 1e3 * gained("eden_stage_seconds_sum", Stage=stage) / calls for stage in STAGES}
    found = {stage: ms for stage, ms in found.items() if ms}
    found["queue"] = gained("ts_queue_latency_microseconds") / 1e3 / calls
    return {"mean": 1e3 * mean, **found, "TorchServe and transport": 1e3 * mean - sum(found.values())}


def target(server: Server, work: Work, folder: Path) -> Target:
    """The target to which a kind of work is sent."""
    return Target(
        server.url,
        server.topology.paths[0],
        server.tokens.headers("inference"),
        tuple(drawn.bodies(work, folder)),
        work.format,
        work.pairs,
        work.size,
        work.by_region,
    )


def _settled(server: Server, pairs: float = 0.0) -> Readings:
    """The server's metrics, once they count at least `pairs` and no longer change."""
    deadline, last = time.monotonic() + SCRAPES_S, -1.0
    while True:
        readings = Readings(request("GET", server.metrics_url, timeout=10).text)
        stages = readings.sum("eden_stage_seconds_count") + readings.sum("eden_requests_total")
        if (readings.sum("eden_pairs_total") >= pairs and stages == last) or time.monotonic() > deadline:
            return readings
        last = stages
        time.sleep(2 * EVERY)


def _row(part: str, serving: Serving, work: Work) -> dict[str, Any]:
    return {
        "part": part,
        "topology": serving.topology,
        "setting": serving.name,
        "jpeg": serving.jpeg,
        "work": work.name,
        "in_process": replace(work, by_region=False).name,
    }
