"""A route by shared memory where that works, else in HTTP bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eden_client.api.errors import Refused, RegionUnavailable, TokenRejected, TooLarge
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame


class FallbackRoute:
    """Sends clips by regions, and by bodies once regions failed. Both go through one server; closing one closes both.

    Regions are given up for good when the server says that it cannot open them, or refuses the first one for any
    reason:
    it may be too old to know them.
    """

    def __init__(self, by_regions: Route, by_bodies: Route) -> None:
        self._by_regions, self._by_bodies = by_regions, by_bodies
        self._works = self._given_up = False

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        """The K-1 frames between; those received before regions failed are not asked for again."""
        done = 0
        if not self._given_up:
            try:
                for frame in self._by_regions.between(frames, within, yuv, step):
                    self._works = True
                    done += 1
                    yield frame
                return
            except (TokenRejected, TooLarge):
                raise
            except Refused as error:
                if self._works and not isinstance(error, RegionUnavailable):
                    raise
                self._given_up = self._given_up or error.code is not None  # else there was no room, just now
        yield from self._by_bodies.between(frames[done:], within, yuv, step)

    def close(self) -> None:
        self._by_bodies.close()
