"""A film in one picture file: animated WebP and AVIF with their times, TIFF with its pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eden_client.film.read.film import Picture, VideoFormat
from eden_client.film.read.image_film import PICTURE_RATE
from eden_client.film.read.transparency import LATE_ALPHA, laid_on_black
from media.errors import MediaError

_KINDS = ("WEBP", "TIFF", "AVIF")
_LEAST = Fraction(1, 100)
"""Seconds for which a picture is shown where the file states 0."""
_LOOKED_AT = 600
"""Pictures, from the first on, that are searched for transparency."""


class AnimationFilm:
    """A `Film` of the pictures in an open file, 8 bits per colour component. Made by `open_animation`."""

    def __init__(self, image: Image.Image, name: str, rate: Fraction | None) -> None:
        self.name, self._image = name, image
        self._count: int = getattr(image, "n_frames", 1)
        self.container: Path | None = None
        self.start = Fraction(0)
        self.beside, self.warnings = list[str](), list[str]()
        self.expected: int | None = self._count
        first, alpha, shown = self._read(0)
        if rate is None and not shown:
            rate = PICTURE_RATE
            self.warnings.append(f"pages without times: {rate} per second are assumed (--source-fps sets another rate)")
        self._rate = rate
        looked_at = range(min(self._count, _LOOKED_AT)) if image.has_transparency_data else ()
        has_alpha = alpha is not None or any(self._read(number)[1] is not None for number in looked_at)
        self.look = VideoFormat(
            size=(first.shape[0], first.shape[1]),
            rate=rate or 1 / max(shown, _LEAST),
            pixel_format="rgba" if has_alpha else "rgb24",
            alpha=has_alpha,
        )
        self.ticks = [1 / rate if rate else Fraction(1, 1000)]

    def pictures(self) -> Iterator[Picture]:
        """Each picture in order. Raises MediaError: a picture is damaged, or differs in size from the first."""
        height, width = self.look.size
        time = Fraction(0)
        for number in range(self._count):
            pixels, alpha, shown = self._read(number)
            if pixels.shape[:2] != (height, width):
                size = f"{pixels.shape[1]}x{pixels.shape[0]}"
                raise MediaError(f"{self.name}: picture {number + 1} is {size} pixels, the first is {width}x{height}")
            if alpha is not None and not self.look.alpha:
                alpha = None
                note = LATE_ALPHA.format(f"picture {number + 1}")
                self.warnings += [note] if not any("transparent" in each for each in self.warnings) else []
            yield Picture(pixels, time, alpha)
            time = (number + 1) / self._rate if self._rate else time + max(shown, _LEAST)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray | None, Fraction]:
        """A picture's pixels on black, its transparency (None: opaque), and its duration in seconds (0: not stated)."""
        try:
            self._image.seek(number)
            if self._image.mode.startswith("I;16"):
                grey = (np.asarray(self._image) >> 8).astype(np.uint8)
                rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
            else:
                rgba = np.asarray(self._image.convert("RGBA"))
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            raise MediaError(f"{self.name}: picture {number + 1} is damaged ({error})") from error
        shown = Fraction(self._image.info.get("duration") or 0) / 1000
        return *laid_on_black(rgba), shown


def is_animation(path: Path) -> bool:
    """Whether a file holds several pictures that FFmpeg cannot read, or cannot read with their transparency."""
    with suppress(Exception), Image.open(path, formats=_KINDS) as image:  # which raises nearly anything
        several = getattr(image, "n_frames", 1) > 1
        return several and (image.format != "AVIF" or image.has_transparency_data)
    return False


@contextmanager
def open_animation(path: Path, rate: Fraction | None = None) -> Iterator[AnimationFilm]:
    """Open a file for which `is_animation` is true. `rate`: pictures per second, instead of the times in the file.

    Raises MediaError: the file is damaged; OSError: it cannot be read.
    """
    with Image.open(path, formats=_KINDS) as image:
        yield AnimationFilm(image, path.name, rate)
