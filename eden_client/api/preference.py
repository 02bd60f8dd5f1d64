"""A way of sending frames that a server may refuse, and another way for what is left then."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from eden_client.api.errors import Refused, RegionUnavailable
from media import Frame


class Preference:
    """Uses the preferred way until the server refuses it.

    It is given up for good if the server refuses its first use for any reason, since it may be too old to know it, or
    later says that shared memory cannot be used. If the client found no room in it, the next use tries again.

    raised     errors that the other way would meet too: they are raised
    given_up   use the other way from the start
    """

    def __init__(self, raised: tuple[type[Refused], ...], given_up: bool = False) -> None:
        self._raised, self._given_up, self._works = raised, given_up, False

    def between(
        self, preferred: Callable[[], Iterator[Frame]], other: Callable[[int], Iterator[Frame]]
    ) -> Iterator[Frame]:
        """The frames that the preferred way gives. If it is refused, `other` gives the rest, after so many frames."""
        done = 0
        if not self._given_up:
            try:
                for frame in preferred():
                    self._works = True
                    done += 1
                    yield frame
                return
            except Refused as error:
                if isinstance(error, self._raised) or (self._works and not isinstance(error, RegionUnavailable)):
                    raise
                self._given_up = self._given_up or error.code is not None
        yield from other(done)
