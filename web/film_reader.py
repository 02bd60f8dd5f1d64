"""Decodes pictures of films for the service, in a process of its own: a hostile file can crash only that process.

python -m web.film_reader reads one `Ask` per line of standard input, as JSON, and writes for each one line with an
`Answer` to standard output, followed by the bytes that it announces. It ends when its standard input does.
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
"""Bytes of memory that the process may allocate; a file that needs more cannot be read."""
THUMBNAIL_QUALITY, QUALITY = 80, 95


class Ask(Struct):
    """A request about a film."""

    path: str
    what: Literal["film", "frame", "pair", "first", "second", "blended", "pixels"]
    at: str = "0"
    """seconds from the film's beginning"""
    height: int = 90
    format: ImageFormat = "png"


class Answer(Struct):
    """The answer to an `Ask`, or an error; after it come parts of `sizes` bytes."""

    error: str | None = None
    film: Film | None = None
    times: tuple[float, float] | None = None
    """when a pair's pictures are shown, in seconds"""
    shape: tuple[int, int] | None = None
    """(H, W) of the two pictures, which are sent as RGB"""
    sizes: list[int] = []


class FilmReader:
    """Answers requests, with one film open at a time."""

    def __init__(self) -> None:
        self._path = ""
        self._view: FilmView | None = None

    def answer(self, asked: Ask) -> tuple[Answer, list[bytes]]:
        """The answer, and the parts that follow it."""
        try:
            answer, parts = self._answer(asked)
        except (MediaError, OSError, MemoryError) as error:
            self._close()
            reason = "the film's pictures are too large" if isinstance(error, MemoryError) else str(error)
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
    """The pixels as a picture file. Raises MediaError: too large for that format."""
    return encode_image(pixels, format, QUALITY if format == "jpeg" else None)


def _thumbnail(picture: Picture, aspect: Fraction, most: int) -> bytes:
    height, width = picture.size
    high = min(most, height)
    wide = max(1, min(round(high * aspect * width / height), 4 * most))
    small = Image.fromarray(picture.pixels).resize((wide, high), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return encode_image(np.asarray(small), "jpeg", THUMBNAIL_QUALITY)


def main() -> int:
    """Answer until standard input ends."""
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
