"""Divides a run into phases: what Locust's statistics gained in each, and where throughput saturates.

It works without Locust.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Row = tuple[str, str]
"""(request type, name), as Locust's statistics name a row."""


@dataclass(frozen=True)
class Totals:
    """The totals of a row of the statistics at one moment."""

    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    """sum of the requests' times"""
    nbytes: int = 0
    times: Mapping[int, int] = field(default_factory=dict)
    """number of requests by their time in milliseconds, rounded as Locust does"""

    def since(self, earlier: Totals) -> Totals:
        """The difference to `earlier` totals of the same row."""
        times = {ms: count - earlier.times.get(ms, 0) for ms, count in self.times.items()}
        return Totals(
            self.requests - earlier.requests,
            self.failures - earlier.failures,
            self.seconds - earlier.seconds,
            self.nbytes - earlier.nbytes,
            {ms: count for ms, count in times.items() if count},
        )


def percentile(times: Mapping[int, int], share: float) -> float | None:
    """The time in milliseconds within which a `share` (0 to 1) of the requests were answered; None: there were none."""
    rank = share * sum(times.values())
    passed = 0
    for ms in sorted(times):
        passed += times[ms]
        if passed >= rank:
            return float(ms)
    return None


@dataclass(frozen=True)
class Phase:
    """The measurements of a phase."""

    name: str
    users: int
    began: float
    ended: float
    """Unix time in seconds"""
    rows: Mapping[str, Mapping[str, Any]]
    """"TYPE name" -> requests, failures, mean_ms, p50_ms, p95_ms, p99_ms, nbytes"""
    generator_cpu: float
    """CPU use of the busiest load generating process; 1.0 is one core"""

    @classmethod
    def between(
        cls,
        name: str,
        users: int,
        began: tuple[float, Mapping[Row, Totals]],
        ended: tuple[float, Mapping[Row, Totals]],
        generator_cpu: float,
    ) -> Phase:
        """The phase between two readings, each of which is a Unix time in seconds and the totals of all rows."""
        rows = {}
        for row, totals in ended[1].items():
            gained = totals.since(began[1].get(row, Totals()))
            if gained.requests:
                rows[" ".join(row)] = _figures(gained)
        return cls(name, users, began[0], ended[0], rows, generator_cpu)

    @property
    def seconds(self) -> float:
        """Duration of the phase."""
        return self.ended - self.began

    def frames_per_second(self) -> float:
        """New frames (those between) that arrived per second, in all scenarios together."""
        return self._count("FRAME") / self.seconds

    def calls(self) -> Mapping[str, Any]:
        """The row of calls (POST or gRPC) with the most requests; empty: there is none."""
        rows = [row for name, row in self.rows.items() if name.startswith(("POST", "gRPC"))]
        return max(rows, key=lambda row: row["requests"], default={})

    def failures(self) -> int:
        """Number of requests that failed."""
        return sum(row["failures"] for row in self.rows.values())

    def row(self, kind: str) -> Mapping[str, Any]:
        """The first row of a kind ("FRAME", "REFUSED", ...); empty: there is none."""
        return next((row for name, row in self.rows.items() if name.split()[0] == kind), {})

    def share_late(self) -> float:
        """Fraction (0 to 1) of the cameras' pairs that were late or skipped."""
        missed = self._count("LATE") + self._count("SKIPPED")
        due = self._count("FRAME") + self._count("SKIPPED")
        return missed / due if due else 0.0

    def _count(self, kind: str) -> int:
        return sum(row["requests"] for name, row in self.rows.items() if name.split()[0] == kind)

    def as_json(self) -> dict[str, Any]:
        """A JSON object for a line of a file; `Phase(**line)` reads it back."""
        return asdict(self)


def _figures(totals: Totals) -> dict[str, Any]:
    p50, p95, p99 = (percentile(totals.times, share) for share in (0.5, 0.95, 0.99))
    return {
        "requests": totals.requests,
        "failures": totals.failures,
        "mean_ms": 1e3 * totals.seconds / totals.requests,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "nbytes": totals.nbytes,
    }


def knee(throughputs: Sequence[float], share: float = 0.95) -> int:
    """Index of the first step that reaches a `share` of the best throughput: more load only adds waiting.

    Raises ValueError: there is no step.
    """
    best = max(throughputs)
    return next(i for i, throughput in enumerate(throughputs) if throughput >= share * best)


def saturated(throughputs: Sequence[float], gain: float, patience: int = 2) -> bool:
    """Whether each of the last `patience` steps raised the best throughput so far by less than the fraction `gain`."""
    if len(throughputs) <= patience:
        return False
    return all(
        throughputs[i] < (1 + gain) * max(throughputs[:i]) for i in range(len(throughputs) - patience, len(throughputs))
    )


def table(phases: Iterable[Phase]) -> str:
    """A table of phases, as text."""
    titles = ["phase", "users", "frames/s", "p50_ms", "p95_ms", "p99_ms", "failed", "late", "load_CPU"]
    lines = ["{:>12} {:>6} {:>9} {:>8} {:>8} {:>8} {:>7} {:>6} {:>9}".format(*titles)]
    for phase in phases:
        calls = phase.calls()
        times = " ".join(f"{calls.get(key) or float('nan'):8.0f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
        lines.append(
            f"{phase.name:>12} {phase.users:6} {phase.frames_per_second():9.2f} {times} "
            f"{phase.failures():7} {phase.share_late():6.1%} {phase.generator_cpu:9.0%}"
        )
    return "\n".join(lines)
