"""Whether one more clip would wait too long for the decoder, judged by how quickly it takes what waits.

In a workflow a refusal, too, passes through the decoder's queue: it comes as late as an answer would. So the queue must
be short in seconds, on a GPU that takes hundreds of clips a second as on two CPU cores that take two.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.errors import Overloaded


class ExpectedWait:
    """Less than a batch may always wait, and one clip is let through whenever none was for so long, to see.

    queue     when each clip was put that waits, the oldest first; asked once a batch
    batch     clips that the decoder takes together
    most      seconds that a clip may have to wait
    """

    def __init__(
        self, queue: Callable[[], list[float]], batch: int, most: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._ask, self._batch, self._most, self._clock = queue, batch, most, clock
        self._queue: list[float] = []
        self._now = self._since = clock()
        self._pace = 0.0
        """Seconds from one clip that is taken to the next, while others wait; 0 as long as that is not known."""

    def look(self) -> None:
        """To be called before each batch of requests."""
        known, self._queue, self._now = self._queue, self._ask(), self._clock()
        taken = len(set(known) - set(self._queue))
        if not self._queue or self._queue[0] > self._since:  # it may have been empty, and the decoder idle
            self._since = self._now
        elif taken:
            pace = (self._now - self._since) / taken
            self._pace = (self._pace + pace) / 2 if self._pace else pace
            self._since = self._now

    def check(self, index: int) -> None:
        """Raises Overloaded if the request with this index in its batch would wait too long."""
        waiting = len(self._queue) + index
        if waiting < self._batch:
            return
        queue = self._queue or [self._now]
        expected = max(self._now - queue[0], waiting * self._pace)
        if expected > self._most and (index or self._now - queue[-1] <= self._most):
            raise Overloaded(
                f"{waiting} clips wait for the decoder, about {expected:.1f} s, at most {self._most:g} s are allowed: "
                "try again later",
                retry_after=expected - self._most,
                bound="wait",
            )
