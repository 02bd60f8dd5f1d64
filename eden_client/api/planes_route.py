"""Sends planes to servers that accept them, and RGB to others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eden_client.api.errors import Refused, RegionUnavailable, TokenRejected, TooLarge
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame


class PlanesRoute:
    """A route that sends planes as RGB if its server refuses them: it may be too old to know them.

    takes_planes  False: planes are always sent as RGB, since the route cannot send them
    """

    def __init__(self, route: Route, takes_planes: bool = True) -> None:
        self._route, self._given_up, self._works = route, not takes_planes, False

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        """The K-1 frames between; those received before planes were refused are not asked for again."""
        if yuv is None:
            yield from self._route.between(frames, within, None, step)
            return
        done = 0
        if not self._given_up:
            try:
                for frame in self._route.between(frames, within, yuv, step):
                    self._works = True
                    done += 1
                    yield frame
                return
            except (TokenRejected, TooLarge, RegionUnavailable):
                raise
            except Refused:
                if self._works:
                    raise
                self._given_up = True
        for frame in self._route.between([yuv.to_rgb(each) for each in frames[done:]], within, None, step):
            yield yuv.from_rgb(frame)

    def close(self) -> None:
        self._route.close()
