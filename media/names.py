"""Opens files with FFmpeg: names with any characters, and tags in any encoding."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

_PATTERN_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Endings of file names in which FFmpeg takes %d, {a,b} or ? for a pattern of many pictures."""


def file_url(path: str | Path) -> str:
    """The URL by which FFmpeg opens a file. In a plain name it takes text before a colon for a protocol."""
    return f"file:{path}"


@contextmanager
def open_input(
    source: str | Path | BinaryIO, *, format: str | None = None, options: dict[str, str] | None = None
) -> Iterator[InputContainer]:
    """Open a file, or a file object, for FFmpeg to read. Bytes in its tags that are not UTF-8 are replaced.

    Raises av.FFmpegError, ValueError or OSError.
    """
    with ExitStack() as open_:
        if isinstance(source, str | Path):
            path = Path(source)
            if path.suffix.lower() in _PATTERN_ENDINGS:
                source = open_.enter_context(io.FileIO(path))
                source.name = f"picture{path.suffix}"
            else:
                source = file_url(path)
        yield open_.enter_context(av.open(source, "r", format=format, options=options, metadata_errors="replace"))
