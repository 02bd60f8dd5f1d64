"""Sends planes to servers that accept them, and RGB to others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eden_client.api.errors import RegionUnavailable, TokenRejected, TooLarge
from eden_client.api.preference import Preference
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame


class PlanesRoute:
    """A route that sends planes as RGB if its server refuses them: it may be too old to know them.

    takes_planes  False: planes are always sent as RGB, since the route cannot send them
    """

    def __init__(self, route: Route, takes_planes: bool = True) -> None:
        self._route = route
        self._planes = Preference((TokenRejected, TooLarge, RegionUnavailable), given_up=not takes_planes)

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        """The K-1 frames between; those received before planes were refused are not asked for again."""
        if yuv is None:
            return self._route.between(frames, within, None, step)

        def as_rgb(done: int) -> Iterator[Frame]:
            return map(yuv.from_rgb, self._route.between(list(map(yuv.to_rgb, frames[done:])), within, None, step))

        return self._planes.between(lambda: self._route.between(frames, within, yuv, step), as_rgb)

    def close(self) -> None:
        self._route.close()
