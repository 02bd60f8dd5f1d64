"""Offers twice a server's capacity: checks that the surplus is refused quickly, the rest answered, and it recovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.capacity.plan import Plan, Workload
from loadtest._film import Film, Scene
from loadtest._options import ROUTES
from loadtest._phases import Phase
from server import Server

CAMERAS = 192
"""Callers at once. Each has one pair in flight, so they must be far more than the clips that may wait for a decoder."""


def overload(
    server: Server,
    workload: Workload,
    offered: float,
    plan: Plan,
    locust: Callable[[Server, Sequence[str]], list[Phase]],
    cameras: int = CAMERAS,
) -> dict[str, Any]:
    """Offer `offered` pairs per second for a while, twice; the second time no thread may be added.

    Says how long refusals and answers took, how many there were, the JVM's threads after each time, and after how many
    seconds a lone pair was again answered as quickly as before.
    """
    seconds, route = plan.overload_seconds, plan.settings[0].route
    options = [*workload.locust_options(), "--route", route, "--shape", "soak"]
    options += ["-u", str(cameras), "-t", f"{max(1, round(seconds))}s"]
    options += ["--phase-seconds", str(seconds), "--rate", str(offered / cameras), "--check-every", "0"]
    body = next(Film.draw(Scene(5, workload.height, workload.width), 2, workload.format).clips(2, 1))
    headers = {"Content-Type": body.content_type, "X-Eden-Format": workload.format}

    def lone_pair() -> float:
        began = time.monotonic()
        reply = server.api.call(ROUTES[route], data=body.body, headers=headers)
        if reply.content.startswith(b"{"):
            return float("inf")
        return time.monotonic() - began

    before = sorted(lone_pair() for _ in range(5))[2]
    waves = []
    for _ in range(2):
        (phase,) = locust(server, options)
        ended = time.monotonic()
        while (now := lone_pair()) > 2 * before and time.monotonic() - ended < 120:
            time.sleep(0.2)
        waves.append(
            {
                "offered": offered,
                "answered": phase.frames_per_second(),
                "refused": phase.row("REFUSED").get("requests", 0) / phase.seconds,
                "other_failures": phase.failures() - phase.row("REFUSED").get("requests", 0),
                "answer_p50_ms": phase.row("FRAME").get("p50_ms"),
                "answer_p99_ms": phase.row("FRAME").get("p99_ms"),
                "refusal_p50_ms": phase.row("REFUSED").get("p50_ms"),
                "refusal_p99_ms": phase.row("REFUSED").get("p99_ms"),
                "back_after_s": time.monotonic() - ended,
                "lone_before_ms": 1e3 * before,
                "lone_after_ms": 1e3 * now,
                "threads": server.thread_count(),
            }
        )
    return {"workload": str(workload), "cameras": cameras, "waves": waves}
