"""Opens INPUT: a video file, a folder or pattern of pictures, or raw y4m from standard input."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

from eden_client.film.read.animation import is_animation, open_animation
from eden_client.film.read.film import Film
from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.image_film import ENDINGS, PICTURE_RATE, ImageFilm
from media import MediaError

PIPE = "-"
"""As INPUT or OUTPUT: standard input or output."""


LEAST_SIDE = 16
"""The fewest pixels per side that the model can take."""


@contextmanager
def open_film(source: str, rate: Fraction | None, strict: bool = False) -> Iterator[Film]:
    """Open INPUT as a film.

    rate     pictures per second, instead of the film's own (a folder of pictures has none)
    strict   damaged data and a change of size raise MediaError; else they are noted in `Film.warnings`
    Raises MediaError: not a film, or too small; OSError: it cannot be read.
    """
    with _opened(source, rate, strict) as film:
        height, width = film.look.size
        if min(height, width) < LEAST_SIDE:
            raise MediaError(
                f"{film.name}: its pictures have {width}x{height} pixels; each side needs {LEAST_SIDE} at least"
            )
        yield film


@contextmanager
def _opened(source: str, rate: Fraction | None, strict: bool) -> Iterator[Film]:
    path = Path(source)
    if source == PIPE:
        if sys.stdin is None:
            raise MediaError("standard input is closed")
        with open_film_file(sys.stdin.buffer, format="yuv4mpegpipe", rate=rate, strict=strict) as film:
            yield film
    elif (found := _pictures(source)) is not None:
        yield ImageFilm(found, path.name if path.is_dir() else source, rate or PICTURE_RATE)
    elif path.exists() and not path.is_file():
        raise MediaError(f"{source}: not a file (INPUT - reads y4m from a pipe)")
    elif is_animation(path):
        with open_animation(path, rate) as film:
            yield film
    else:
        with open_film_file(path, rate=rate, strict=strict) as film:
            yield film


def _pictures(source: str) -> list[Path] | None:
    """The pictures of a folder or pattern, in any order; None: INPUT is neither.

    Hidden files are left out: macOS writes one beside each picture (._0001.png).
    """
    path = Path(source)
    if path.is_dir():
        return [each for each in path.iterdir() if each.suffix.lower() in ENDINGS and not each.name.startswith(".")]
    if path.exists() or not glob.has_magic(source):
        return None
    return [Path(each) for each in glob.glob(source)]  # noqa: PTH207  (Path.glob takes no absolute pattern)


def identity(source: str) -> list[Any]:
    """What shows that INPUT is unchanged: path, size and time of the file, or a digest of these for all pictures."""
    if source == PIPE:
        return [source]
    path = Path(source)
    if (found := _pictures(source)) is not None:
        return [str(path.absolute()), _digest(found)]
    told = path.stat()
    return [str(path.absolute()), told.st_size, told.st_mtime_ns]


def _digest(files: Iterable[Path]) -> str:
    """SHA-256 of the files' names, sizes and times; their order does not matter."""
    digest = hashlib.sha256()
    for file in sorted(files):
        told = file.stat()
        digest.update(os.fsencode(file.name) + b"\0%d\0%d\0" % (told.st_size, told.st_mtime_ns))
    return digest.hexdigest()


class Source(Protocol):
    """What a film is read from. It can be pickled, and opened in another process or on another machine."""

    @property
    def name(self) -> str:
        """Its name in error messages."""

    def open(self) -> AbstractContextManager[Film]:
        """Open it, to be read once. Raises MediaError or OSError."""

    def changed(self) -> bool:
        """Whether its size or time differs from when the film was begun."""


@dataclass(frozen=True)
class LocalSource:
    """INPUT on this machine, for its other processes."""

    name: str
    identity: list[Any]
    """as `identity` gave it when the film was begun"""
    rate: Fraction | None
    strict: bool

    @classmethod
    def of(cls, source: str, rate: Fraction | None, strict: bool = False) -> Self:
        """INPUT as it is now."""
        return cls(source, identity(source), rate, strict)

    def open(self) -> AbstractContextManager[Film]:
        return open_film(self.name, self.rate, self.strict)

    def changed(self) -> bool:
        return identity(self.name) != self.identity
