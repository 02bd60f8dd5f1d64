"""Records a run: answers, refusals that repetition overcame, kills, and faults with their messages."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from eden_client import EdenError, ServerTrouble
from server.topology import FUSED, NODES

BEFORE_S, AFTER_S = 1.0, 5.0
"""Seconds before a kill and after the worker's return in which a call's failure is still ascribed to that kill."""
REFUSALS = (429, 503, 504)
"""Status codes of refusals that give a reason, and after which the call is repeated."""


@dataclass
class Kill:
    """A worker that was killed. Times are in seconds since the run began."""

    at_s: float
    model: str
    pid: int
    back_s: float | None = None
    """when all workers of its model were ready again; None: they are not yet"""


@dataclass
class Fault:
    """Something that should not have happened: when, in seconds since the run began, to which call, and what."""

    at_s: float
    what: str
    text: str


@dataclass
class Record:
    """What happened in a run. Any thread may add to it. A call's name (`what`) begins with its route."""

    began: float = field(default_factory=time.monotonic)
    good: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """by name, the seconds that each good call took, repetitions included"""
    troubles: Counter[tuple[str, str]] = field(default_factory=Counter)
    """failed attempts that were repeated, by (answer, "refused" or "killed": one of our kills explains it)"""
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """calls that need not succeed, by (name, answer)"""
    faults: list[Fault] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    left_out: int = 0
    """calls that were not made, since too many were under way"""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def add_good(self, what: str, since: float) -> None:
        """A call begun at `since` was answered correctly just now."""
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
        """A call that need not succeed was answered, or ended otherwise."""
        with self._lock:
            self.answers[what, came] += 1

    def add_fault(self, what: str, text: str) -> None:
        with self._lock:
            self.faults.append(Fault(round(self.now(), 1), what, text[:2000]))

    def add_kill(self, model: str, pid: int) -> Kill:
        """A worker is about to be killed. Returns its record, of which the caller sets `back_s`."""
        kill = Kill(round(self.now(), 1), model, pid)
        with self._lock:
            self.kills.append(kill)
        return kill

    def is_by_kill(self, what: str, since: float) -> bool:
        """Whether a worker of the call's route was dead at some time since `since`, when the call began."""
        with self._lock:
            return any(
                kill.at_s - BEFORE_S <= self.now() and (kill.back_s is None or since <= kill.back_s + AFTER_S)
                for kill in self.kills
                if kill.model in models_of(what)
            )

    def killed(self) -> set[int]:
        """Process ids of the workers that were killed."""
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
    """The models that a call of this name uses. A server of both topologies answers route `auto` by the fused model."""
    return (FUSED,) if what.startswith(("fused", "auto")) else NODES
