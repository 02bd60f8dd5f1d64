"""A route by shared memory where that works, else in HTTP bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eden_client.api.errors import TokenRejected, TooLarge
from eden_client.api.preference import Preference
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame


class FallbackRoute:
    """Sends clips by regions, and by bodies once regions failed. Both are of one server; closing one closes both."""

    def __init__(self, by_regions: Route, by_bodies: Route) -> None:
        self._by_regions, self._by_bodies = by_regions, by_bodies
        self._regions = Preference((TokenRejected, TooLarge))

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        """The K-1 frames between; those received before regions failed are not asked for again."""
        return self._regions.between(
            lambda: self._by_regions.between(frames, within, yuv, step),
            lambda done: self._by_bodies.between(frames[done:], within, yuv, step),
        )

    def close(self) -> None:
        self._by_bodies.close()
