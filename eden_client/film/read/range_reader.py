"""Reads the pictures of a segment from a source that the planner has read before."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from eden_client.film.jobs import PlannedPicture
from eden_client.film.read.film import Film, Picture
from eden_client.film.read.film_file import FilmFile
from eden_client.film.read.image_film import ImageFilm
from eden_client.film.read.sources import Source
from media import MediaError

NEAR = 48
"""Up to this many pictures are decoded and dropped, rather than skipped by a seek to a key frame."""


class RangeReader:
    """Reads ranges of a source that can be opened again. Raises MediaError or OSError.

    A picture is taken if its time stamp and its checksum are those of the plan. A seek may lead elsewhere (no key
    frames, a clock that starts anew, damaged data): then the file is read from its beginning. There the time stamp
    alone has to match, as long as the source has not changed: after damage that a decoder does not report, parts of a
    picture are whatever was in memory, and its checksum may differ at each reading.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._open = ExitStack()
        self._film: Film | None = None
        self._coming: Iterator[Picture] = iter(())
        self._next: int | None = None
        """index of the picture that comes next; None: unknown"""
        self._last: Picture | None = None
        """the picture before it: a range may begin with the picture that another one ends with"""

    def read(self, wanted: Sequence[PlannedPicture]) -> Iterator[Picture]:
        """Consecutive pictures, with the plan's indices and times. Raises MediaError: the source has changed."""
        found = 0
        for planned, picture in zip(wanted, self._reached(wanted[0]), strict=False):
            if not planned.is_shown_by(picture):
                break
            yield _numbered(picture, planned)
            found += 1
        if found == len(wanted):
            return
        left, changed = wanted[found:], self._source.changed()
        for planned, picture in zip(left, itertools.islice(self._anew(), left[0].number, None), strict=False):
            if picture.stamp != planned.stamp or (changed and not planned.is_shown_by(picture)):
                break
            yield _numbered(picture, planned)
            found += 1
        if found < len(wanted):
            raise MediaError(f"{self._source.name}: it has changed since the film was begun")

    def close(self) -> None:
        """Close the file."""
        self._film, self._next, self._last = None, None, None
        self._open.close()

    def _reached(self, first: PlannedPicture) -> Iterator[Picture]:
        """The pictures from this one on, if they can be reached without reading from the beginning; else none."""
        film = self._film or self._opened()
        if isinstance(film, ImageFilm):
            return film.pictures(first.number)
        if self._last is not None and self._next is not None and first.number == self._next - 1:
            return self._counted(itertools.chain([self._last], self._coming), first.number)
        if self._next is not None and 0 <= first.number - self._next <= NEAR:
            return self._counted(itertools.islice(self._coming, first.number - self._next, None), first.number)
        if isinstance(film, FilmFile) and first.stamp is not None and film.seek(first.stamp):
            self._coming = film.pictures()
            return self._counted(_from(first, self._coming), first.number)
        return iter(())

    def _anew(self) -> Iterator[Picture]:
        """All pictures from the first on."""
        self.close()
        self._coming = self._opened().pictures()
        return self._counted(self._coming, 0)

    def _opened(self) -> Film:
        self._film = self._open.enter_context(self._source.open())
        self._coming, self._next = self._film.pictures(), 0
        return self._film

    def _counted(self, pictures: Iterable[Picture], number: int) -> Iterator[Picture]:
        """The pictures unchanged; counts them, so that `_next` is known wherever the caller stops."""
        self._next = self._last = None
        for picture in pictures:
            number += 1
            self._next, self._last = number, picture
            yield picture


def _from(first: PlannedPicture, pictures: Iterator[Picture]) -> Iterator[Picture]:
    """The pictures from `first` on; none if it does not come."""
    for picture in pictures:
        if picture.stamp is not None and first.stamp is not None and picture.stamp >= first.stamp:
            yield picture
            yield from pictures
            return


def _numbered(picture: Picture, planned: PlannedPicture) -> Picture:
    picture.number, picture.time = planned.number, planned.time
    return picture
