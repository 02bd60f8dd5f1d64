"""What is refused of a batch because the server has too much to do, before any work on it."""

from __future__ import annotations

from handoff import Handoff, OverCapacity
from serving.backlog import Backlog
from serving.expected_wait import ExpectedWait
from serving.request import Caller, Request


class Admission:
    """Decides for each request of a batch, in turn. `handoff` and `wait`: only of a node that hands its work on."""

    def __init__(
        self, batch_size: int, backlog: Backlog, handoff: Handoff | None = None, wait: ExpectedWait | None = None
    ) -> None:
        self._batch_size, self._backlog, self._handoff, self._wait = batch_size, backlog, handoff, wait
        self._room = {False: 0, True: 0}
        """Clips that may be put, by whether their tickets go to a caller."""

    def begin(self, count: int) -> None:
        """A batch of `count` requests has come."""
        self._backlog.batch(full=count == self._batch_size)
        if self._wait:
            self._wait.look()
        if self._handoff:
            self._room = {by_caller: self._handoff.room(by_caller) for by_caller in (False, True)}

    def admit(self, request: Request) -> Request:
        """The request, if there is room for it. Raises OverCapacity."""
        if self._backlog.is_surplus():
            raise OverCapacity(f"more than {self._backlog.most} requests wait for this node: try again later")
        if self._handoff and request.index >= self._room[request.caller is not Caller.WORKFLOW]:
            bound = self._handoff.settings.max_in_flight
            raise OverCapacity(f"{bound} clips wait for the decoder already, the most that may: try again later")
        if self._wait:
            self._wait.check(request.index)
        return request
