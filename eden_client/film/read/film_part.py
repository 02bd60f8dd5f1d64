"""A part of a film, or a film slowed down. Both leave the sound out: it would not be in step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

from eden_client.film.read.film import Film, Picture
from eden_client.film.read.film_file import FilmFile
from media import MediaError


class FilmPart:
    """The pictures of `film` from `start` on, for `duration` (None: to its end), both in seconds.

    Raises MediaError: the film ends before `start`, or cannot be read from there.
    """

    container: Path | None = None

    def __init__(self, film: Film, start: Fraction, duration: Fraction | None) -> None:
        self.name, self.ticks, self.warnings = film.name, film.ticks, film.warnings
        self.beside = _left_out(film)
        self.look = replace(film.look, last_duration=None)
        wanted = film.start + start
        if start and isinstance(film, FilmFile) and film.container and not film.seek_to(wanted):
            raise MediaError(f"{film.name}: it cannot be read from {float(start):g} s on, only from its beginning")
        self._coming = (picture for picture in film.pictures() if picture.time >= wanted)
        first = next(self._coming, None)
        if first is None:
            raise MediaError(f"{film.name}: it ends before {float(start):g} s")
        self._first, self.start = first, first.time
        self._end = None if duration is None else first.time + duration
        left = None if film.expected is None else max(film.expected - round(start * film.look.rate), 0)
        most = None if duration is None else round(duration * film.look.rate)
        self.expected = min((count for count in (left, most) if count is not None), default=None)

    def pictures(self) -> Iterator[Picture]:
        """Each picture of the part, with its time in the film. Raises what `film` raises."""
        for picture in chain([self._first], self._coming):
            if self._end is not None and picture.time >= self._end:
                return
            yield picture


class SlowFilm:
    """`film`, with each picture shown `times` as long."""

    container: Path | None = None

    def __init__(self, film: Film, times: int) -> None:
        self.film, self._times = film, times
        self.name, self.expected, self.warnings = film.name, film.expected, film.warnings
        self.beside = _left_out(film)
        last = film.look.last_duration
        self.look = replace(
            film.look, rate=film.look.rate / times, last_duration=None if last is None else last * times
        )
        self.start, self.ticks = film.start * times, [tick * times for tick in film.ticks]

    def pictures(self) -> Iterator[Picture]:
        """Each picture, at `times` its time. Raises what `film` raises."""
        for picture in self.film.pictures():
            picture.time *= self._times
            yield picture


def _left_out(film: Film) -> list[str]:
    """What remains besides the pictures: nothing. A warning of `film` names what is left out."""
    if film.beside:
        film.warnings.append(f"{' and '.join(film.beside)} left out: a part of a film, or a slowed one, has none")
    return []
