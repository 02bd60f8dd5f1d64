"""What is refused of a batch because the server has too much to do, before any work on it."""

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
    """Decides for each request of a batch: the most urgent are the last to be refused.

    handoff, wait  only of a node that hands its work on
    accept         told that requests have come; False: all are refused, since the server is about to be stopped
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
        """Clips that may be put, by whether their tickets go to a caller."""
        self._places: dict[int, int] = {}
        """Of the requests of a batch, by their indices: the most urgent first."""
        self._within = 0
        """Places that are not surplus."""

    def begin(self, count: int, wanted: Sequence[Job]) -> None:
        """A batch of `count` requests has come, of which `wanted` may be served."""
        self._accepts = self._accept()
        urgent_first = sorted(wanted, key=lambda job: PRIORITIES.index(job.request.priority))
        self._places = {job.request.index: place for place, job in enumerate(urgent_first)}
        self._backlog.batch(full=count == self._batch_size)
        self._within = len(wanted) - sum(self._backlog.is_surplus() for _ in range(count))
        if self._wait:
            self._wait.look()
        if self._handoff:
            self._room = {by_caller: self._handoff.room(by_caller) for by_caller in (False, True)}

    def admit(self, job: Wanted) -> Wanted:
        """The job, if there is room for it. Raises Overloaded."""
        if not self._accepts:
            raise Overloaded("this server is about to be stopped: try again later, or elsewhere", bound="draining")
        place = self._places[job.request.index]
        if place >= self._within:
            most = self._backlog.most
            raise Overloaded(f"more than {most} requests wait for this node: try again later", bound="queued")
        if self._handoff and place >= self._room[job.request.caller is not Caller.WORKFLOW]:
            most = self._handoff.settings.max_in_flight
            raise Overloaded(
                f"{most} clips wait for the decoder already, the most that may: try again later", bound="in_flight"
            )
        if self._wait:
            self._wait.check(place)
        return job
