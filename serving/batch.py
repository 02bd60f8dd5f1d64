"""The requests of one batch: an error of one does not affect the others."""

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
"""Types of errors that are this node's own fault; they are logged with a traceback."""


class SortedJob(Job, Protocol):
    """A job that can be computed together with others of the same kind, for example of the same grid."""

    @property
    def kind(self) -> Hashable: ...


In = TypeVar("In", bound=Job)
OfKind = TypeVar("OfKind", bound=SortedJob)
Out = TypeVar("Out")


class Batch:
    """The requests of a batch, and the answers that they have so far.

    outbox  sends answers before the batch is done; None: all go with the batch
    clock   returns seconds since the epoch
    form    converts an answer into the form in which it leaves this node
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
        """Answers in the form in which they leave, by index."""
        self._gone: set[int] = set()

    def answer(self, request: Request, answer: Answer) -> None:
        """Set a request's answer."""
        self._answers[request.index] = answer
        self._leaving.pop(request.index, None)

    def leave(self, request: Request, answer: Answer) -> Answer:
        """An answer in the form in which it leaves this node."""
        return self._form(request, answer) if self._form else answer

    def fail(self, request: Request, error: Exception) -> None:
        """Set a request's answer to the envelope of an error."""
        explained = self._guard.explain(error) if self._guard else error
        content = envelope(explained)
        if content["type"] in OURS:
            logger.error("request %s failed", request.id, exc_info=error)
        self.answer(request, Answer.envelope(content, reason(explained)))

    def answered(self, request: Request) -> Answer | None:
        """A request's answer, or None if it has none yet."""
        return self._answers.get(request.index)

    def answer_to(self, request: Request) -> Answer:
        """A request's answer; the envelope of an error if it has none."""
        if request.index not in self._answers:
            self.fail(request, RuntimeError("no answer was given"))
        return self._answers[request.index]

    def answers(self) -> list[Answer]:
        """One per request, in their order."""
        return [self._as_it_leaves(request) for request in self.requests]

    def turns(self, jobs: Sequence[In]) -> Iterator[list[In]]:
        """The jobs by priority, the most urgent first. Before each group, answers that are ready are sent."""
        for priority in PRIORITIES:
            if turn := [job for job in jobs if job.request.priority == priority]:
                self.send()
                yield turn

    def send(self) -> None:
        """Send the answers that are ready, while others of the batch take longer."""
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
        """Raises DeadlinePassed if the request's caller waits no longer; `step` names the work that is not done."""
        if (late := self._clock() - request.due) >= 0:
            raise DeadlinePassed(f"the deadline passed {late:.3f} s ago, before the {step}, which was not done")

    def in_time(self, jobs: Iterable[In], step: str) -> list[In]:
        """The jobs whose callers still wait; the others are answered with an error."""

        def checked(job: In) -> In:
            self.check(job.request, step)
            return job

        return self.each(jobs, checked)

    def each(self, jobs: Iterable[In], step: Callable[[In], Out], pool: Executor | None = None) -> list[Out]:
        """Results of `step` per job, in a pool's threads if there is one. Jobs that fail are answered, and left out."""

        def run_step(job: In) -> list[Out]:
            try:
                return [step(job)]
            except Exception as error:
                self.fail(job.request, error)
                return []

        return [made for made_of_one in (pool.map if pool else map)(run_step, jobs) for made in made_of_one]

    def together(self, jobs: Iterable[OfKind], step: Callable[[list[OfKind]], list[Out]]) -> list[Out]:
        """Results of `step` for all jobs of one kind together, kind by kind.

        Where that fails, each job of the kind is computed alone, so that a bad one does not affect the others.
        """
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
