"""Writes a result as a folder of numbered pictures."""

from __future__ import annotations

import io
import re
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from eden_client.film.resume_journal import Entry, ResumeJournal
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.results import FilmFrame, Written, Wrote
from eden_client.film.write.segment_threads import SegmentThreads
from media import MediaError, encode_image
from media.images import Frame, ImageFormat

FORMATS: dict[str, ImageFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
DEFAULT_NAME = "%06d.png"
NUMBER = re.compile(r"%0?\d*d")
"""The placeholder for a picture's number in a name."""


class FolderResult:
    """Writes each frame as a picture beside the journal, and moves them all into their folder at the end.

    target    a folder, or folder/name%06d.png to choose the names and the format
    at_once   segments whose pictures are encoded at once
    waiting   frames that may wait for their encoders
    Raises MediaError: the format is unknown.
    """

    def __init__(
        self, journal: ResumeJournal, target: str, quality: int | None, wrote: Wrote, at_once: int, waiting: int
    ) -> None:
        path = Path(target)
        self._folder, name = (path.parent, path.name) if NUMBER.search(path.name) else (path, DEFAULT_NAME)
        ending = Path(name).suffix.lower()
        if ending not in FORMATS:
            raise MediaError(f"{name}: pictures are written as {', '.join(FORMATS)}")
        self._journal = journal
        self.sinks = PictureSinks(journal.folder / "frames", name, FORMATS[ending], quality)
        self.sinks.folder.mkdir(exist_ok=True)
        self.done = journal.done
        self.record = journal.record
        self._threads = SegmentThreads(lambda number: self.sinks.open(number, wrote), journal.record, at_once, waiting)

    planes: FrameConverter | None = None
    """A folder's frames are RGB."""

    @property
    def frames(self) -> int:
        """Frames in finished segments."""
        return self._journal.frames

    def write(self, segment: int, frame: FilmFrame) -> None:
        """Hand a frame to its segment's thread. Raises MediaError."""
        pixels, alpha = frame.rgb
        self._threads.write(segment, replace(frame, source=None, pixels=pixels, alpha=alpha))

    def end_segment(self, segment: int) -> None:
        """The segment is recorded in the journal once all its pictures are written."""
        self._threads.complete(segment)

    def finish(self) -> list[str]:
        """Move all pictures to their place; in a folder that exists, they replace those of an earlier film."""
        self._threads.finish()
        made = self.sinks.folder
        if not self._folder.exists():
            made.replace(self._folder)
        else:
            for path in made.iterdir():
                shutil.move(path, self._folder / path.name)  # the folder may be on another disk
            number = self.frames
            while (stale := self._folder / self.sinks.named(number)).exists():
                stale.unlink()
                number += 1
        self._journal.discard()
        return []

    def rescue(self) -> Path | None:
        """The folder that holds the pictures so far."""
        self._threads.stop()
        if not self.frames:
            self._journal.discard()
            return None
        return self.sinks.folder

    def close(self) -> None:
        """Close the journal; the files in its folder stay."""
        self._journal.close()


@dataclass(frozen=True)
class PictureSinks:
    """Opens sinks that write the frames of segments as pictures into `folder`. It can be pickled."""

    folder: Path
    name: str
    format: ImageFormat
    quality: int | None

    def into(self, folder: Path) -> Self:
        """The same, with another folder."""
        return replace(self, folder=folder)

    def open(self, number: int, wrote: Wrote) -> PictureSink:
        """The sink of the segment with this index."""
        return PictureSink(self, number, wrote)

    def named(self, number: int) -> str:
        """The path of the frame with this index, from 0; names count from 1."""
        return NUMBER.sub(lambda found: found[0] % (number + 1), self.name)


class PictureSink:
    """Takes the frames of a segment."""

    def __init__(self, sinks: PictureSinks, number: int, wrote: Wrote) -> None:
        self._sinks, self._number, self._wrote, self._count = sinks, number, wrote, 0

    def write(self, frame: FilmFrame) -> None:
        """Write a picture. Raises OSError."""
        begun = time.perf_counter()
        data = _encoded(*frame.rgb, self._sinks.format, self._sinks.quality)
        (self._sinks.folder / self._sinks.named(frame.number)).write_bytes(data)
        self._count += 1
        self._wrote(Written(time.perf_counter() - begun, frame.drawn))

    def close(self) -> Entry:
        """The segment's entry for the journal."""
        return Entry(self._number, self._sinks.folder.name, "0", self._count)

    def abandon(self) -> None:
        """Does nothing: the pictures are overwritten when the segment is made again."""


def _encoded(pixels: Frame, alpha: np.ndarray | None, format: ImageFormat, quality: int | None) -> bytes:
    if alpha is None or format == "jpeg":
        return encode_image(pixels, format, quality)
    buffer = io.BytesIO()
    lossless = {"lossless": True} if format == "webp" else {"compress_level": 1}
    opaque = np.maximum(alpha, 1).astype(np.float32)[..., None] / 255
    colours = np.minimum(np.rint(pixels / opaque), 255).astype(np.uint8)
    Image.fromarray(np.dstack([colours, alpha])).save(buffer, format, **lossless)
    return buffer.getvalue()
