"""Decides which requests of a batch are refused because the server has too much to do, before any work on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from handoff import Handoff
from media.terms import PRIORITIES
from serving.backlog import Backlog
from serving.errors import Overloaded
from serving.expected_wait import ExpectedWait
from serving.request import Caller, Job

Wanted = TypeVar("Wanted", bound=Job)


class Admission:
    """Decides for each request of a batch; the most urgent ones are refused last.

    handoff, wait  only for a node that hands its work on
    accept         called when requests have come; if it returns False all are refused: the server is being stopped
    """

    def __init__(
        self,
        batch_size: int,
        backlog: Backlog,
        handoff: Handoff | None = None,
        wait: ExpectedWait | None = None,
        accept: Callable[[], bool] = lambda: True,
    ) -> None:
        self._batch_size, self._backlog, self._handoff, self._wait = batch_size, backlog, handoff, wait
        self._accept, self._accepts = accept, True
        self._room = {False: 0, True: 0}
        """How many clips may be put, by whether their tickets go to a caller."""
        self._ranks: dict[int, int] = {}
        """Rank of each request of the batch, by its index; the most urgent has rank 0."""
        self._within = 0
        """Ranks below this are not surplus."""

    def begin(self, count: int, wanted: Sequence[Job]) -> None:
        """Begin a batch of `count` requests, of which `wanted` may be served."""
        self._accepts = self._accept()
        urgent_first = sorted(wanted, key=lambda job: PRIORITIES.index(job.request.priority))
        self._ranks = {job.request.index: rank for rank, job in enumerate(urgent_first)}
        self._backlog.batch(full=count == self._batch_size)
        self._within = len(wanted) - sum(self._backlog.is_surplus() for _ in range(count))
        if self._wait:
            self._wait.look()
        if self._handoff:
            self._room = {by_caller: self._handoff.room(by_caller) for by_caller in (False, True)}

    def admit(self, job: Wanted) -> Wanted:
        """Return the job. Raises Overloaded if there is no room for it."""
        if not self._accepts:
            raise Overloaded("this server is about to be stopped: try again later, or elsewhere", bound="draining")
        rank = self._ranks[job.request.index]
        if rank >= self._within:
            most = self._backlog.most
            raise Overloaded(f"more than {most} requests wait for this node: try again later", bound="queued")
        if self._handoff and rank >= self._room[job.request.caller is not Caller.WORKFLOW]:
            most = self._handoff.settings.max_in_flight
            raise Overloaded(
                f"{most} clips wait for the decoder already, the most that may: try again later", bound="in_flight"
            )
        if self._wait:
            self._wait.check(rank)
        return job
