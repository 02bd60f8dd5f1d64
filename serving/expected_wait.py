"""Whether one more clip would wait too long for the decoder, estimated from the rate at which it takes clips.

In a workflow a refusal passes through the decoder's queue as well, and so comes as late as an answer. So the queue must
be short in seconds, both on a GPU that takes hundreds of clips per second and on two CPU cores that take two.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.errors import Overloaded


class ExpectedWait:
    """Less than a batch of clips may always wait; and if none was let through for `most` seconds, one is, as a probe.

    queue     returns when each waiting clip was put, the oldest first; called once per batch
    batch     clips that the decoder takes together
    most      the longest that a clip may have to wait, in seconds
    """

    def __init__(
        self, queue: Callable[[], list[float]], batch: int, most: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._ask, self._batch, self._most, self._clock = queue, batch, most, clock
        self._queue: list[float] = []
        self._now = self._since = clock()
        self._pace = 0.0
        """Seconds between two clips that the decoder takes while others wait; 0 while unknown."""

    def look(self) -> None:
        """Read the queue and update the rate; to be called before each batch of requests."""
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
                f"{waiting} clips wait for the decoder, which takes about {expected:.1f} s; at most {self._most:g} s "
                "are allowed: try again later",
                retry_after=expected - self._most,
                bound="wait",
            )
