"""Turns a film's pictures upright, for results that cannot state a rotation: a GIF, a picture, a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from eden_client.film.read.film import Film, Picture


class RotatedFilm:
    """`film`, its pictures turned by its rotation. Turned pictures keep 8 bits per colour component."""

    def __init__(self, film: Film) -> None:
        self._film, self._turns = film, film.look.rotation // 90
        self.name, self.container, self.start = film.name, film.container, film.start
        self.ticks, self.expected, self.beside, self.warnings = film.ticks, film.expected, film.beside, film.warnings
        self.look = film.look
        if self._turns:
            lies = self._turns % 2
            self.look = replace(
                film.look,
                size=film.look.size[::-1] if lies else film.look.size,
                aspect=1 / film.look.aspect if lies else film.look.aspect,
                rotation=0,
                bits=8,
            )

    def pictures(self) -> Iterator[Picture]:
        """Each picture, upright. Raises what `film` raises."""
        for picture in self._film.pictures():
            yield self._turned(picture) if self._turns else picture

    def _turned(self, picture: Picture) -> Picture:
        alpha = None if picture.alpha is None else np.ascontiguousarray(np.rot90(picture.alpha, self._turns))
        pixels = np.ascontiguousarray(np.rot90(picture.pixels, self._turns))
        return Picture(pixels, picture.time, alpha)
