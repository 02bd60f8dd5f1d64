"""INPUT: a video file, a folder or pattern of pictures, or raw y4m from standard input."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from eden_client.film.read.film import Film
from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.image_film import ENDINGS, ImageFilm
from media import MediaError

PIPE = "-"
"""Standard input or output."""

PICTURE_RATE = Fraction(24)
"""Of pictures in a folder, where none is told."""


@contextmanager
def open_film(source: str, rate: Fraction | None) -> Iterator[Film]:
    """The film that INPUT stands for; `rate` is in place of its own, which a folder of pictures has not.

    Raises MediaError, or OSError where it cannot be read.
    """
    path = Path(source)
    if source == PIPE:
        if sys.stdin is None:
            raise MediaError("standard input is closed")
        with open_film_file(sys.stdin.buffer, format="yuv4mpegpipe", rate=rate) as film:
            yield film
    elif path.is_dir():
        found = [each for each in path.iterdir() if each.suffix.lower() in ENDINGS]
        yield ImageFilm(found, path.name, rate or PICTURE_RATE)
    elif not path.exists() and glob.has_magic(source):
        found = [Path(each) for each in glob.glob(source)]  # noqa: PTH207  (Path.glob takes no absolute pattern)
        yield ImageFilm(found, source, rate or PICTURE_RATE)
    elif path.exists() and not path.is_file():
        raise MediaError(f"{source}: not a file (INPUT - reads y4m from a pipe)")
    else:
        with open_film_file(path, rate=rate) as film:
            yield film


def identity(source: str) -> list[Any]:
    """What tells INPUT from another one of the same name: size and time of the file, or of every picture."""
    path = Path(source)
    if path.is_dir():
        return [str(path.absolute()), _digest(each for each in path.iterdir() if each.suffix.lower() in ENDINGS)]
    if path.exists():
        told = path.stat()
        return [str(path.absolute()), told.st_size, told.st_mtime_ns]
    found = glob.glob(source) if source != PIPE else []  # noqa: PTH207  (Path.glob takes no absolute pattern)
    return [str(path.absolute()), _digest(map(Path, found))]


def _digest(files: Iterable[Path]) -> str:
    """Of the files' names, sizes and times, whatever order they come in."""
    digest = hashlib.sha256()
    for file in sorted(files):
        told = file.stat()
        digest.update(os.fsencode(file.name) + b"\0%d\0%d\0" % (told.st_size, told.st_mtime_ns))
    return digest.hexdigest()
