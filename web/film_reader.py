"""Looks into films for the service, in a process of its own: what a file does to a decoder, it does to that alone.

python -m web.film_reader: an `Ask` per line of standard input, as JSON; for each an `Answer` in a line of standard
output, and as many bytes behind it as that says. It ends with its standard input.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from PIL import Image

from eden_client.film.read.film import Picture
from media import Frame, MediaError, encode_image
from media.images import ImageFormat
from web.film_kinds import kind_of
from web.film_view import FilmView
from web.schemas import Film

MEMORY = 8 << 30
"""Bytes that the process may reserve: a file that asks for more cannot be read."""
THUMBNAIL_QUALITY, QUALITY = 80, 95


class Ask(Struct):
    """What is wanted of a film."""

    path: str
    what: Literal["film", "frame", "pair", "first", "second", "blended", "pixels"]
    at: str = "0"
    """seconds from its beginning"""
    height: int = 90
    format: ImageFormat = "png"


class Answer(Struct):
    """What is known, or why it is not; `sizes` bytes follow, one part after the other."""

    error: str | None = None
    film: Film | None = None
    times: tuple[float, float] | None = None
    """of a pair's pictures"""
    shape: tuple[int, int] | None = None
    """(H, W) of two pictures as RGB"""
    sizes: list[int] = []


class FilmReader:
    """Answers, with one film open at a time."""

    def __init__(self) -> None:
        self._path = ""
        self._view: FilmView | None = None

    def answer(self, asked: Ask) -> tuple[Answer, list[bytes]]:
        """And the bytes that go with it."""
        try:
            answer, parts = self._answer(asked)
        except (MediaError, OSError, MemoryError) as error:
            self._close()
            reason = "its pictures are too large" if isinstance(error, MemoryError) else str(error)
            return Answer(error=reason), []
        answer.sizes = [len(part) for part in parts]
        return answer, parts

    def _answer(self, asked: Ask) -> tuple[Answer, list[bytes]]:
        view = self._opened(asked.path)
        if asked.what == "film":
            return Answer(film=self._film(view, Path(asked.path))), []
        at = Fraction(asked.at)
        if asked.what == "frame":
            return Answer(), [_thumbnail(view.shown(at), view.film.look.aspect, asked.height)]
        first, second = view.pair(at)
        times = (view.seconds(first), view.seconds(second))
        match asked.what:
            case "pair":
                return Answer(times=times), []
            case "pixels":
                return Answer(times=times, shape=first.size), [first.pixels.tobytes(), second.pixels.tobytes()]
            case "first":
                pixels = first.pixels
            case "second":
                pixels = second.pixels
            case "blended":
                pixels = ((first.pixels.astype(np.uint16) + second.pixels + 1) // 2).astype(np.uint8)
        return Answer(times=times), [encoded(pixels, asked.format)]

    def _opened(self, path: str) -> FilmView:
        if self._view is None or self._path != path:
            self._close()
            kind_of(Path(path))
            self._path, self._view = path, FilmView(Path(path))
        return self._view

    def _close(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    def _film(self, view: FilmView, path: Path) -> Film:
        kind, film = kind_of(path), view.film
        height, width = film.look.size
        return Film(
            name="",
            width=width,
            height=height,
            pixel_aspect=float(film.look.aspect),
            rate=float(film.look.rate),
            duration_s=None if film.expected is None else float(film.expected / film.look.rate),
            frames=film.expected,
            media_type=kind.media_type,
            playable=kind.playable,
        )


def encoded(pixels: Frame, format: ImageFormat) -> bytes:
    """A picture file. Raises MediaError: it is too large for one."""
    return encode_image(pixels, format, QUALITY if format == "jpeg" else None)


def _thumbnail(picture: Picture, aspect: Fraction, most: int) -> bytes:
    height, width = picture.size
    high = min(most, height)
    wide = max(1, min(round(high * aspect * width / height), 4 * most))
    small = Image.fromarray(picture.pixels).resize((wide, high), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return encode_image(np.asarray(small), "jpeg", THUMBNAIL_QUALITY)


def main() -> int:
    """Answer until nobody asks any more."""
    with suppress(ValueError, OSError):  # a tighter bound is there already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    reader, out = FilmReader(), sys.stdout.buffer
    for line in sys.stdin.buffer:
        answer, parts = reader.answer(msgspec.json.decode(line, type=Ask))
        out.write(msgspec.json.encode(answer) + b"\n")
        for part in parts:
            out.write(part)
        out.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
