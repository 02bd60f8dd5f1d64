"""By shared memory where that works, else in HTTP's bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eden_client.api.errors import Refused, RegionUnavailable, TokenRejected, TooLarge
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame


class FallbackRoute:
    """A route by regions, and the same one by bodies: through the same server, so either may be closed for both.

    Regions are given up for good once the server says that it cannot open them; also where it refuses the first of them
    for another reason: it may be older than they are.
    """

    def __init__(self, by_regions: Route, by_bodies: Route) -> None:
        self._by_regions, self._by_bodies = by_regions, by_bodies
        self._works = self._given_up = False

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        """The K-1 frames between; those that came before regions failed are not asked for again."""
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
