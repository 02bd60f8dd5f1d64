"""Pictures of an open film at any of its times, upright as they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from eden_client.film.read.film import Film, Picture
from eden_client.film.read.film_file import FilmFile
from eden_client.film.read.range_reader import NEAR
from eden_client.film.read.rotated_film import RotatedFilm
from eden_client.film.read.sources import open_film
from media import MediaError

Pair = tuple[Picture, Picture]
_BEFORE = 3
"""Pictures by which a jump leads further back: behind the last key frame there may be no second picture."""


class FilmView:
    """A film that is open. Raises MediaError, or OSError: it cannot be read.

    Times are seconds from the film's beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._open = path, ExitStack()
        self._pair: Pair | None = None
        self._begin()

    def pair(self, at: Fraction) -> Pair:
        """The picture that is shown then and the one after it; before the first or behind the last: the nearest two.

        Raises MediaError: it cannot be read there, or has a single picture.
        """
        wanted = self._film.start + at
        if self._pair is None or not self._pair[0].time <= wanted < self._reach():
            self._go_near(wanted)
        found = self._read_up_to(wanted)
        if found is None or (found[0].time > wanted and not self._from_start):  # a jump that led too far
            self.close()
            self._begin()
            found = self._read_up_to(wanted)
        if found is None:
            raise MediaError(f"{self._path.name}: a single picture, and nothing to go between")
        return found

    def shown(self, at: Fraction) -> Picture:
        """The picture that is shown then. Raises MediaError."""
        first, second = self.pair(at)
        return second if second.time <= self._film.start + at else first

    def seconds(self, picture: Picture) -> float:
        """When it is shown."""
        return float(picture.time - self._film.start)

    @property
    def film(self) -> Film:
        """It, upright."""
        return self._upright

    def close(self) -> None:
        """Let go of the file."""
        self._pair = None
        self._open.close()

    def _begin(self) -> None:
        self._film = self._open.enter_context(open_film(str(self._path), None))
        self._upright = RotatedFilm(self._film)
        self._coming: Iterator[Picture] = self._upright.pictures()
        self._pair = None
        self._ended, self._from_start = False, True

    def _reach(self) -> Fraction | float:
        """Up to which time reading on is no longer than a jump: nothing is behind the end."""
        assert self._pair is not None
        return math.inf if self._ended else self._pair[1].time + NEAR / self._film.look.rate

    def _go_near(self, wanted: Fraction) -> None:
        look, start, expected = self._film.look, self._film.start, self._film.expected
        if self._pair is None and wanted - start <= NEAR / look.rate:
            return
        end = wanted if expected is None else start + expected / look.rate
        before = min(wanted, end) - _BEFORE / look.rate
        if isinstance(self._film, FilmFile) and self._film.seek_to(before):
            self._pair = None
            self._coming = self._upright.pictures()
            self._ended = self._from_start = False
        else:
            self.close()
            self._begin()

    def _read_up_to(self, wanted: Fraction) -> Pair | None:
        """The first pair that ends behind this time, or the last one that is there."""
        pair = self._pair
        before = None if pair is None else pair[1]
        while not self._ended and (pair is None or pair[1].time <= wanted):
            picture = next(self._coming, None)
            if picture is None:
                self._ended = True
            else:
                pair, before = None if before is None else (before, picture), picture
                if pair:
                    pair[0].release()
        self._pair = pair
        return pair
