"""Pictures of an open film at any time, rotated as they are shown."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
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
"""Pictures that a seek goes further back: after the last key frame there may be no second picture."""
_HELD_PIXELS = 1 << 26
"""How many of the last pictures are kept, since somebody who moves a cursor returns to them."""


class FilmView:
    """An open film. Raises MediaError or OSError: it cannot be read.

    Times are seconds from the film's beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._open = path, ExitStack()
        self._begin()

    def pair(self, at: Fraction) -> Pair:
        """The picture shown at `at` seconds and the one after it; outside the film, the nearest two.

        Raises MediaError: the film cannot be read there, or has a single picture.
        """
        wanted = self._film.start + at
        found = self._among_held(wanted)
        if found is None:
            self._go_near(wanted)
            found = self._read_up_to(wanted)
        if found is None:  # a jump that led too far
            self._begin()
            found = self._read_up_to(wanted)
        if found is None:
            raise MediaError(f"{self._path.name}: a single picture, so there is no frame between")
        return found

    def shown(self, at: Fraction) -> Picture:
        """The picture shown at `at` seconds. Raises MediaError."""
        first, second = self.pair(at)
        return second if second.time <= self._film.start + at else first

    def seconds(self, picture: Picture) -> float:
        """When a picture is shown, in seconds from the film's beginning."""
        return float(picture.time - self._film.start)

    @property
    def film(self) -> Film:
        """The film, rotated as it is shown."""
        return self._upright

    def close(self) -> None:
        """Close the file."""
        self._held.clear()
        self._open.close()

    def _begin(self) -> None:
        self._open.close()
        self._film = self._open.enter_context(open_film(str(self._path), None))
        self._upright = RotatedFilm(self._film)
        height, width = self._film.look.size
        self._held: deque[Picture] = deque(maxlen=max(_HELD_PIXELS // (height * width), 2))
        self._read_on(from_start=True)

    def _read_on(self, from_start: bool) -> None:
        """Read on from the film's current position."""
        self._held.clear()
        self._coming: Iterator[Picture] = self._upright.pictures()
        self._ended, self._first_held = False, from_start

    def _among_held(self, wanted: Fraction) -> Pair | None:
        """The pair, if its pictures are held.

        Times before the first picture count as its own, likewise after the last.
        """
        if len(self._held) < 2:
            return None
        number = bisect_right(self._held, wanted, key=lambda picture: picture.time)
        if (number == 0 and not self._first_held) or (number == len(self._held) and not self._ended):
            return None
        number = min(max(number, 1), len(self._held) - 1)
        return self._held[number - 1], self._held[number]

    def _go_near(self, wanted: Fraction) -> None:
        """Seek to a time, unless reading on gets there as soon."""
        look, start, expected = self._film.look, self._film.start, self._film.expected
        reached = self._held[-1].time if self._held else start
        if (not self._held or self._held[-1].time <= wanted) and wanted <= reached + NEAR / look.rate:
            return
        end = wanted if expected is None else start + expected / look.rate
        before = max(min(wanted, end) - _BEFORE / look.rate, start)
        if isinstance(self._film, FilmFile) and self._film.seek_to(before):
            self._read_on(from_start=False)
        else:
            self._begin()

    def _read_up_to(self, wanted: Fraction) -> Pair | None:
        while (found := self._among_held(wanted)) is None and not self._ended:
            picture = next(self._coming, None)
            if picture is None:
                self._ended = True
                continue
            if len(self._held) == self._held.maxlen:
                self._first_held = False
            if self._held:
                self._held[-1].release()
            self._held.append(picture)
            if self._held[0].time > wanted and not self._first_held:
                return None
        return found
