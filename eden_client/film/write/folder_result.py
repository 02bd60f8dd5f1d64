"""A result that is a folder of numbered pictures."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from eden_client.film.resume_journal import Entry, ResumeJournal
from eden_client.film.write.results import FilmFrame, Wrote
from eden_client.film.write.segment_threads import SegmentThreads
from media import MediaError, encode_image
from media.images import Frame, ImageFormat

FORMATS: dict[str, ImageFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
DEFAULT_NAME = "%06d.png"
NUMBER = re.compile(r"%0?\d*d")
"""Stands in a name for the picture's number."""


class FolderResult:
    """Writes each frame as a picture beside the journal, and moves them all into their folder at the end.

    target    a folder, or folder/name%06d.png to choose the names and the format
    at_once   segments whose pictures are encoded at the same time
    waiting   frames that may wait for that
    Raises MediaError: an unknown format.
    """

    def __init__(
        self, journal: ResumeJournal, target: str, quality: int | None, wrote: Wrote, at_once: int, waiting: int
    ) -> None:
        path = Path(target)
        self._folder, self._name = (path.parent, path.name) if NUMBER.search(path.name) else (path, DEFAULT_NAME)
        ending = Path(self._name).suffix.lower()
        if ending not in FORMATS:
            raise MediaError(f"{self._name}: pictures are written as {', '.join(FORMATS)}")
        self._format, self._quality, self._wrote = FORMATS[ending], quality, wrote
        self._journal = journal
        self._made = journal.folder / "frames"
        self._made.mkdir(exist_ok=True)
        self.done = journal.done
        self._begun = set[int]()
        self._threads = SegmentThreads(self._sink, at_once, waiting)

    @property
    def frames(self) -> int:
        """How many frames are in finished segments."""
        return self._journal.frames

    def write(self, segment: int, frame: FilmFrame) -> None:
        """Hand a frame to its segment's thread. Raises MediaError."""
        pixels, alpha = frame.rgb
        self._begun.add(segment)
        self._threads.write(segment, FilmFrame(frame.number, frame.time, None, pixels, alpha))

    def end_segment(self, segment: int) -> None:
        """It is noted as soon as all its pictures are there."""
        if segment in self._begun:
            self._begun.discard(segment)
            self._threads.complete(segment)
        else:
            self._journal.record(Entry(segment, self._made.name, "0", 0))

    def finish(self) -> list[str]:
        """Put the pictures in their place, at once or, where a folder is there, in place of an earlier film's."""
        self._threads.finish()
        if not self._folder.exists():
            self._made.replace(self._folder)
        else:
            for path in self._made.iterdir():
                path.replace(self._folder / path.name)
            number = self.frames
            while (stale := self._folder / self._named(number)).exists():
                stale.unlink()
                number += 1
        self._journal.discard()
        return []

    def rescue(self) -> Path | None:
        """The folder of the pictures so far."""
        self._threads.stop()
        if not self.frames:
            self._journal.discard()
            return None
        return self._made

    def close(self) -> None:
        """Let go of the journal; what is in its folder stays."""
        self._journal.close()

    def _sink(self, segment: int) -> _Sink:
        def write(frame: FilmFrame) -> None:
            begun = time.perf_counter()
            (self._made / self._named(frame.number)).write_bytes(self._encoded(*frame.rgb))
            self._wrote(time.perf_counter() - begun)

        return _Sink(write, lambda count: self._journal.record(Entry(segment, self._made.name, "0", count)))

    def _named(self, number: int) -> str:
        return NUMBER.sub(lambda found: found[0] % (number + 1), self._name)

    def _encoded(self, pixels: Frame, alpha: np.ndarray | None) -> bytes:
        if alpha is None or self._format == "jpeg":
            return encode_image(pixels, self._format, self._quality)
        buffer = io.BytesIO()
        lossless = {"lossless": True} if self._format == "webp" else {"compress_level": 1}
        opaque = np.maximum(alpha, 1).astype(np.float32)[..., None] / 255
        colours = np.minimum(np.rint(pixels / opaque), 255).astype(np.uint8)
        Image.fromarray(np.dstack([colours, alpha])).save(buffer, self._format, **lossless)
        return buffer.getvalue()


class _Sink:
    """Takes the pictures of a segment."""

    def __init__(self, write: Callable[[FilmFrame], None], record: Callable[[int], None]) -> None:
        self._write, self._record, self._count = write, record, 0

    def write(self, frame: FilmFrame) -> None:
        self._write(frame)
        self._count += 1

    def close(self) -> None:
        self._record(self._count)

    def abandon(self) -> None:
        """Pictures that are there are written again."""
