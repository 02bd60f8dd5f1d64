"""Calculates from measured costs how many GPUs each part could feed, and how much of it a fleet of GPUs needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FLEETS = (100, 1000)
RESULT_PER_PAIR = 2
"""Frames of the result per pair that is drawn, when a film is doubled."""


@dataclass(frozen=True)
class Bound:
    """A part that may be the limit, under one kind of work."""

    part: str
    unit: str
    """what it is counted in: cores, processes, links"""
    per_gpu: float
    """units that one GPU keeps busy"""

    @property
    def gpus(self) -> float:
        """GPUs that one unit can feed."""
        return 1 / self.per_gpu

    def needed(self, gpus: int) -> float:
        """Units that so many GPUs keep busy."""
        return gpus * self.per_gpu


def bounds(costs: Mapping[str, Any]) -> Iterator[Bound]:
    """The bounds of all parts. `costs`: what `bench.scale` has measured and read, as in its JSON."""
    pairs = costs["gpu"]["pairs_per_second"]
    for call in costs["proxy"]:
        rate = (pairs["calls"] if call["pairs"] == 1 else pairs["clips"]) / call["pairs"]
        yield Bound(f"HAProxy, {call['name']}", "core", rate * call["cpu_s_per_call"])
        if not call["buffer"]:
            gigabits = 8e-9 * max(call["sent"], call["received"])
            yield Bound(f"HAProxy's network, {call['name']}", "100 Gbit/s each way", rate * gigabits / 100)
    film, rate = costs["film"], pairs["clips"]
    planner, join = film["planner"], film["join"]
    yield Bound("planner, what threads hardly share", "process", rate * planner["plan_cpu_s_per_frame"])
    yield Bound("planner, decoding", "core", rate * planner["decode_cpu_s_per_frame"])
    made = RESULT_PER_PAIR * rate
    for preset, core_seconds in costs["encode"]["core_s_per_frame"].items():
        yield Bound(f"encoding, {preset}", "core", made * core_seconds)
    yield Bound("join", "core", made * join["cpu_s_per_frame"])
    if ray := costs.get("ray"):
        jobs = made / ray["frames_per_job"]
        yield Bound("Ray, the command's part of a job", "process", jobs * ray["driver_s_per_job"])
        yield Bound("Ray, its own processes", "core", jobs * ray["own_s_per_job"])
        yield Bound("Ray's object store, at the command", "100 Gbit/s", 8e-9 * jobs * ray["bytes_per_job"] / 100)
