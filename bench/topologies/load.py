"""Load by several processes of many threads, each with a connection that it keeps; every answer is checked.

Nothing here imports PyTorch: these processes are to start quickly and to do little else than send.
"""

from __future__ import annotations

import http.client
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import psutil

from bench.topologies.frames import Body
from eden_client.api.carriers import RegionCarrier
from eden_client.api.errors import EdenError, envelope_in
from eden_client.api.regions import RegionPool
from eden_client.api.traffic import Traffic
from loadtest._answers import NO_LIMIT, WrongAnswer, check
from media import decode_npy
from media.region_format import FOLDER

PATIENCE = 30.0
"""Seconds that an answer may take."""
PAUSE = 0.1
"""Seconds that a caller waits after a failure, so that refusals do not become the load."""
BUSY = 0.8
"""Share of a core above which a load process may itself be the limit: Python's threads share one core."""


@dataclass(frozen=True)
class Target:
    """Where requests are sent, their bodies in turn, and what answers must hold."""

    url: str
    path: str
    headers: dict[str, str]
    bodies: tuple[Body, ...]
    format: str
    count: int
    """frames in an answer"""
    size: tuple[int, int]
    """(H, W) of these"""
    by_region: bool = False
    """whether bodies, all .npy, are put into shared memory for each call, and the answers copied out of it"""


@dataclass(frozen=True)
class Answered:
    """The end of one request."""

    ended: float
    """by time.monotonic, which all processes of a machine share"""
    taken: float
    """seconds that it took"""
    failure: str = ""
    """what was wrong; empty: the answer was good"""


class Caller:
    """A caller with one connection and one request at a time."""

    def __init__(self, target: Target, bodies: Sequence[bytes]) -> None:
        self._target, self._bodies = target, bodies
        where = urlsplit(target.url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        self._regions = RegionPool(Path(FOLDER)) if target.by_region else None
        self._clips = (
            [decode_npy(body, max_pixels=NO_LIMIT, max_frames=NO_LIMIT) for body in bodies] if target.by_region else []
        )

    def call(self, number: int) -> Answered:
        """Send body `number`, modulo how many there are, and check the answer. Failures are returned, not raised."""
        target, which = self._target, number % len(self._bodies)
        began, failure = time.monotonic(), ""
        ended = began
        try:
            if self._regions:
                status = self._by_region(self._regions, which)
                ended = time.monotonic()
            else:
                status, answer = self._send(self._bodies[which], target.bodies[which].content_type, target.format)
                ended = time.monotonic()
                check(answer, target.format, target.count, target.size)
            if status != 200:
                failure = f"status {status}"
        except EdenError as error:
            ended = time.monotonic()
            failure = f"{type(error).__name__}: {str(error)[:100]}"
        except WrongAnswer as error:
            failure = f"wrong answer: {str(error)[:100]}"
        except (OSError, http.client.HTTPException) as error:
            ended = time.monotonic()
            failure = type(error).__name__
            self._connection.close()  # the next request opens it again
        return Answered(ended, ended - began, failure)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        if self._regions:
            self._regions.close()

    def _send(self, body: bytes, content_type: str, format: str) -> tuple[int, bytes]:
        headers = self._target.headers | {"Content-Type": content_type, "X-Eden-Format": format}
        self._connection.request("POST", self._target.path, body, headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def _by_region(self, regions: RegionPool, which: int) -> int:
        with RegionCarrier(regions).carry(list(self._clips[which]), Traffic()) as carried:
            request = carried.request
            status, answer = self._send(request.body, request.headers["Content-Type"], carried.format(streamed=False))
            if error := envelope_in(answer):
                raise error
            carried.all(answer)
        return status


def generate(pipe: Connection, stop: Any, answered: Any) -> None:
    """A process that makes load: one (target, first caller's number, threads) after another, until a None comes.

    It sends "ready" first. `stop` ends a load, in which each caller makes at least one call; a list of `Answered` is
    then sent back.
    """
    pipe.send("ready")
    while (job := pipe.recv()) is not None:
        target, first, threads = job
        bodies = [body.path.read_bytes() for body in target.bodies]
        seen: list[list[Answered]] = [[] for _ in range(threads)]

        def run(mine: list[Answered], number: int, target: Target = target, bodies: Sequence[bytes] = bodies) -> None:
            caller = Caller(target, bodies)
            while not mine or not stop.is_set():
                mine.append(caller.call(number))
                number += 1
                if mine[-1].failure:
                    stop.wait(PAUSE)
                else:
                    with answered.get_lock():
                        answered.value += 1
            caller.close()

        running = [threading.Thread(target=run, args=(mine, first + i)) for i, mine in enumerate(seen)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        pipe.send([each for mine in seen for each in mine])


class Generators:
    """The processes that make load. They are started once, since their imports take longer than some measurements."""

    def __init__(self, processes: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._stop, self._answered = spawn.Event(), spawn.Value("L", 0)
        self._pipes, self._processes = [], []
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=generate, args=(theirs, self._stop, self._answered), daemon=True)
            process.start()
            theirs.close()  # so that the end of a process is the end of its pipe
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def measure(self, target: Target, users: int, warm: float, window: float, most_warm: float) -> dict[str, Any]:
        """Warm up for `warm` seconds and until there are as many answers as users, then measure for `window` seconds.

        most_warm: seconds after which measuring begins in any case. Raises EOFError: a process has died.
        """
        threads = max(1, users // len(self._pipes))
        wanted = threads * len(self._pipes)
        self._stop.clear()
        self._answered.value = 0
        for index, pipe in enumerate(self._pipes):
            pipe.send((target, index * threads, threads))
        began = time.monotonic()
        while (spent := time.monotonic() - began) < warm or (self._answered.value < wanted and spent < most_warm):
            time.sleep(0.05)
        unix, opened, cpu = time.time(), time.monotonic(), self._cpu()
        time.sleep(window)
        closed, used = time.monotonic(), [after - before for before, after in zip(cpu, self._cpu(), strict=True)]
        ended = time.time()
        self._stop.set()
        seen = [each for pipe in self._pipes for each in pipe.recv()]
        seconds = closed - opened
        return {
            "users": wanted,
            "began": unix,
            "ended": ended,
            **summary(seen, opened, closed, target.count),
            "generator_processes": len(self._pipes),
            "generator_cores_busiest": max(used) / seconds,
            "generator_cores": sum(used) / seconds,
        }

    def _cpu(self) -> list[float]:
        times = [psutil.Process(process.pid).cpu_times() for process in self._processes]
        return [each.user + each.system for each in times]

    def close(self) -> None:
        """End the processes."""
        self._stop.set()
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.kill()
            process.join()
            process.close()
            pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def summary(seen: Sequence[Answered], opened: float, closed: float, pairs: int) -> dict[str, Any]:
    """Results of the calls that ended within a window: pairs per second, percentiles in ms, failures by kind."""
    within = [each for each in seen if opened <= each.ended < closed]
    good = [each.taken for each in within if not each.failure]
    failures = Counter(each.failure for each in within if each.failure)
    return {
        "seconds": closed - opened,
        "answers": len(good),
        "pairs_s": len(good) * pairs / (closed - opened),
        **percentiles(good, (50, 95, 99)),
        "failed": sum(failures.values()),
        "failures": dict(failures.most_common(5)),
    }


def percentiles(seconds: Sequence[float], which: Sequence[int]) -> dict[str, float | None]:
    """`p50_ms` and so on of times in seconds; None where there are none."""
    return {f"p{each}_ms": 1e3 * float(np.percentile(seconds, each)) if seconds else None for each in which}
