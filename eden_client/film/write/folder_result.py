"""A result that is a folder of numbered pictures."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from eden_client.film.pipeline import Made
from eden_client.film.resume_journal import Entry, ResumeJournal
from eden_client.film.write.results import picture_of
from media import MediaError, encode_image
from media.images import Frame, ImageFormat

FORMATS: dict[str, ImageFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
DEFAULT_NAME = "%06d.png"
NUMBER = re.compile(r"%0?\d*d")
"""Stands in a name for the picture's number."""


class FolderResult:
    """Writes each frame as a picture into the workshop, and moves them all into their folder at the end.

    target: a folder, or folder/name%06d.png to choose the names and the format. Raises MediaError: an unknown format.
    """

    def __init__(self, workshop: ResumeJournal, target: str, quality: int | None) -> None:
        path = Path(target)
        self._folder, self._name = (path.parent, path.name) if NUMBER.search(path.name) else (path, DEFAULT_NAME)
        ending = Path(self._name).suffix.lower()
        if ending not in FORMATS:
            raise MediaError(f"{self._name}: pictures are written as {', '.join(FORMATS)}")
        self._format, self._quality = FORMATS[ending], quality
        self._workshop = workshop
        self._made = workshop.folder / "frames"
        self._made.mkdir(exist_ok=True)
        self.gaps, self.frames, self._kept = workshop.gaps, workshop.frames, workshop.frames

    def write(self, made: Made) -> None:
        """Add a picture. Raises MediaError."""
        self.frames += 1
        picture = picture_of(made)
        if picture is not None:
            data = self._encoded(picture.pixels, picture.alpha)
        else:
            assert made.pixels is not None
            data = self._encoded(made.pixels, made.alpha)
        (self._made / self._named(self.frames)).write_bytes(data)

    def end_segment(self, gaps: int) -> None:
        """Note what is there."""
        self.gaps = gaps
        self._workshop.record(Entry(self._made.name, "0", self.frames - self._kept, gaps))
        self._kept = self.frames

    def finish(self) -> list[str]:
        """Put the pictures in their place, at once or, where a folder is there, in place of an earlier film's."""
        if not self._folder.exists():
            self._made.replace(self._folder)
        else:
            for path in self._made.iterdir():
                shutil.move(path, self._folder / path.name)  # the folder may be a disk of its own
            number = self.frames + 1
            while (stale := self._folder / self._named(number)).exists():
                stale.unlink()
                number += 1
        self._workshop.discard()
        return []

    def rescue(self) -> Path | None:
        """The folder of the pictures so far."""
        self.frames = self._workshop.frames
        if not self.frames:
            self._workshop.discard()
            return None
        return self._made

    def close(self) -> None:
        """Let go of the workshop; what is in it stays."""
        self._workshop.close()

    def _named(self, number: int) -> str:
        return NUMBER.sub(lambda found: found[0] % number, self._name)

    def _encoded(self, pixels: Frame, alpha: np.ndarray | None) -> bytes:
        if alpha is None or self._format == "jpeg":
            return encode_image(pixels, self._format, self._quality)
        buffer = io.BytesIO()
        lossless = {"lossless": True} if self._format == "webp" else {"compress_level": 1}
        opaque = np.maximum(alpha, 1).astype(np.float32)[..., None] / 255
        colours = np.minimum(np.rint(pixels / opaque), 255).astype(np.uint8)
        Image.fromarray(np.dstack([colours, alpha])).save(buffer, self._format, **lossless)
        return buffer.getvalue()
