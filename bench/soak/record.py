"""What happened: answers, refusals that were got over, kills, and faults with their words. Threads add to it."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from eden_client import EdenError, ServerTrouble
from server.topology import FUSED, NODES

BEFORE_S, AFTER_S = 1.0, 5.0
"""Seconds by which a kill's time is taken wider, for calls that were about to be answered, or lost, meanwhile."""
REFUSALS = (429, 503, 504)
"""Codes of a refusal that says why, and that is got over by asking again."""


@dataclass
class Kill:
    """A worker that was killed: seconds since the run began, and when another was ready in its place."""

    at_s: float
    model: str
    pid: int
    back_s: float | None = None


@dataclass
class Fault:
    """What should not have happened."""

    at_s: float
    what: str
    text: str


@dataclass
class Record:
    """Names of calls begin with the route that they take."""

    began: float = field(default_factory=time.monotonic)
    good: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """seconds that each good call took, repetitions included"""
    troubles: Counter[tuple[str, str]] = field(default_factory=Counter)
    """attempts that failed and were repeated: what was said, and "refused" or "killed" (by a kill of ours)"""
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """calls that nobody has to answer well: what they were, what came"""
    faults: list[Fault] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    left_out: int = 0
    """calls that were not made, since as many as may be were under way"""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def add_good(self, what: str, since: float) -> None:
        with self._lock:
            self.good[what].append(self.now() - since)

    def add_trouble(self, what: str, since: float, error: EdenError) -> None:
        """An attempt of a call begun at `since` failed: a fault, unless it was refused or a kill explains it."""
        if isinstance(error, ServerTrouble) and error.code in REFUSALS and error.kind:
            how = "refused"
        elif self.is_by_kill(what, since):
            how = "killed"
        else:
            self.add_fault(what, f"an attempt failed: {error}")
            return
        with self._lock:
            self.troubles[f"{error.code or 'no answer'} {error.kind}".strip(), how] += 1

    def add_answer(self, what: str, came: str) -> None:
        with self._lock:
            self.answers[what, came] += 1

    def add_fault(self, what: str, text: str) -> None:
        with self._lock:
            self.faults.append(Fault(round(self.now(), 1), what, text[:2000]))

    def add_kill(self, model: str, pid: int) -> Kill:
        """Note one, to be told when its worker is back."""
        kill = Kill(round(self.now(), 1), model, pid)
        with self._lock:
            self.kills.append(kill)
        return kill

    def is_by_kill(self, what: str, since: float) -> bool:
        """Whether, while a call begun at `since` was under way, a worker on its route was dead."""
        with self._lock:
            return any(
                kill.at_s - BEFORE_S <= self.now() and (kill.back_s is None or since <= kill.back_s + AFTER_S)
                for kill in self.kills
                if kill.model in models_of(what)
            )

    def killed(self) -> set[int]:
        """Pids."""
        with self._lock:
            return {kill.pid for kill in self.kills}

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "good": {what: sorted(round(each, 3) for each in taken) for what, taken in sorted(self.good.items())},
                "troubles": [[*what, count] for what, count in sorted(self.troubles.items())],
                "answers": [[*what, count] for what, count in sorted(self.answers.items())],
                "faults": [asdict(fault) for fault in self.faults],
                "kills": [asdict(kill) for kill in self.kills],
                "left_out": self.left_out,
            }


def models_of(what: str) -> tuple[str, ...]:
    """The models that a call of this name goes through; a server of both topologies serves `auto` by the fused one."""
    return (FUSED,) if what.startswith(("fused", "auto")) else NODES
