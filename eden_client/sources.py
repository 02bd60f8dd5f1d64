"""INPUT: a video file, a folder or pattern of pictures, or raw y4m from standard input."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from media import MediaError
from media.film import Film
from media.film_file import open_film_file
from media.image_film import ENDINGS, ImageFilm

PIPE = "-"
"""Standard input or output."""


@contextmanager
def open_film(source: str, rate: Fraction) -> Iterator[Film]:
    """The film that INPUT stands for; `rate` is that of pictures without one of their own.

    Raises MediaError, or OSError where it cannot be read.
    """
    path = Path(source)
    if source == PIPE:
        with open_film_file(sys.stdin.buffer, format="yuv4mpegpipe") as film:
            yield film
    elif path.is_dir():
        yield ImageFilm([each for each in path.iterdir() if each.suffix.lower() in ENDINGS], path.name, rate)
    elif not path.exists() and glob.has_magic(source):
        yield ImageFilm([Path(each) for each in glob.glob(source)], source, rate)  # noqa: PTH207  (Path.glob takes no absolute pattern)
    elif path.suffix.lower() in ENDINGS and path.is_file():
        raise MediaError(
            f"{source}: a single picture, and nothing to go between (a folder or 'pattern*.png' is a film)"
        )
    else:
        with open_film_file(path) as film:
            yield film


def identity(source: str) -> list[Any]:
    """What tells INPUT from another one of the same name."""
    path = Path(source)
    if path.is_dir() or not path.exists():
        return [str(path.absolute())]
    told = path.stat()
    return [str(path.absolute()), told.st_size, told.st_mtime_ns]
