"""Requests that came together: each is served by itself, and what fails of one spares the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Protocol, TypeVar

from media.terms import PRIORITIES
from serving.answer import Answer
from serving.device_health import DeviceGuard
from serving.errors import DeadlinePassed, envelope, reason
from serving.outbox import Outbox
from serving.request import Job, Request

logger = logging.getLogger(__name__)

OURS = ("InternalError", "DeviceLost", "OutOfMemory")
"""Faults of this node's own, which its log tells of in full."""


class SortedJob(Job, Protocol):
    """A job that can be computed together with others of its kind: of one grid, above all."""

    @property
    def kind(self) -> Hashable: ...


In = TypeVar("In", bound=Job)
OfKind = TypeVar("OfKind", bound=SortedJob)
Out = TypeVar("Out")


class Batch:
    """The requests of a batch, and the answers that they have so far.

    outbox  by which answers go before the batch is done; None: by none
    clock   seconds since the epoch
    form    what an answer becomes as it leaves this node
    """

    def __init__(
        self,
        requests: Sequence[Request],
        guard: DeviceGuard | None = None,
        outbox: Outbox | None = None,
        clock: Callable[[], float] = time.time,
        form: Callable[[Request, Answer], Answer] | None = None,
    ) -> None:
        self.requests, self._guard, self._outbox, self._clock, self._form = requests, guard, outbox, clock, form
        self._answers: dict[int, Answer] = {}
        self._leaving: dict[int, Answer] = {}
        """Of these, as they leave."""
        self._gone: set[int] = set()

    def answer(self, request: Request, answer: Answer) -> None:
        """Settle a request's answer."""
        self._answers[request.index] = answer
        self._leaving.pop(request.index, None)

    def leave(self, request: Request, answer: Answer) -> Answer:
        """An answer in the form in which it leaves this node."""
        return self._form(request, answer) if self._form else answer

    def fail(self, request: Request, error: Exception) -> None:
        """Settle a request's answer: an error's envelope."""
        explained = self._guard.explain(error) if self._guard else error
        told = envelope(explained)
        if told["type"] in OURS:
            logger.error("request %s failed", request.id, exc_info=error)
        self.answer(request, Answer.envelope(told, reason(explained)))

    def answered(self, request: Request) -> Answer | None:
        """A request's answer, if it has one by now."""
        return self._answers.get(request.index)

    def answer_to(self, request: Request) -> Answer:
        """A request's answer; an error's envelope where none was given."""
        if request.index not in self._answers:
            self.fail(request, RuntimeError("no answer was given"))
        return self._answers[request.index]

    def answers(self) -> list[Answer]:
        """One per request, in their order."""
        return [self._as_it_leaves(request) for request in self.requests]

    def turns(self, jobs: Sequence[In]) -> Iterator[list[In]]:
        """The jobs of each priority, the most urgent first. Before each turn, the answers that are there go."""
        for priority in PRIORITIES:
            if turn := [job for job in jobs if job.request.priority == priority]:
                self.send()
                yield turn

    def send(self) -> None:
        """Let callers have the answers that are there: others of the batch take longer."""
        if not self._outbox:
            return
        requests = {request.index: request for request in self.requests}
        for index in self._answers:
            if index not in self._gone:
                answer = self._as_it_leaves(requests[index])
                if self._outbox.finish(index, answer):
                    self._gone.add(index)
                    self._leaving[index] = replace(answer, body=b"")

    def _as_it_leaves(self, request: Request) -> Answer:
        if request.index not in self._leaving:
            self._leaving[request.index] = self.leave(request, self.answer_to(request))
        return self._leaving[request.index]

    def check(self, request: Request, step: str) -> None:
        """Raises DeadlinePassed if the request's caller waits no longer; `step`: what is left undone."""
        if (late := self._clock() - request.due) >= 0:
            raise DeadlinePassed(f"the deadline passed {late:.3f} s ago, before the {step}, which was left undone")

    def in_time(self, jobs: Iterable[In], step: str) -> list[In]:
        """Those whose callers still wait; the others are answered."""

        def checked(job: In) -> In:
            self.check(job.request, step)
            return job

        return self.each(jobs, checked)

    def each(self, jobs: Iterable[In], step: Callable[[In], Out], pool: Executor | None = None) -> list[Out]:
        """What `step` makes of each job, in a pool's threads if one is given; without those that fail."""

        def attempt(job: In) -> list[Out]:
            try:
                return [step(job)]
            except Exception as error:
                self.fail(job.request, error)
                return []

        return [made for made_of_one in (pool.map if pool else map)(attempt, jobs) for made in made_of_one]

    def together(self, jobs: Iterable[OfKind], step: Callable[[list[OfKind]], list[Out]]) -> list[Out]:
        """What `step` makes of the jobs of each kind together; where that fails, of each alone, so that a bad one
        spares the others."""
        groups: dict[Hashable, list[OfKind]] = {}
        for job in jobs:
            groups.setdefault(job.kind, []).append(job)
        made: list[Out] = []
        for group in groups.values():
            try:
                made += step(group)
            except Exception as error:
                if len(group) == 1:
                    self.fail(group[0].request, error)
                    continue
                logger.warning("computing %d clips together failed, each alone now: %s", len(group), error)
                for alone in self.each(group, lambda job: step([job])):
                    made += alone
        return made
