"""A film made of numbered pictures: those of a folder, or of a pattern such as shots/*.png."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from eden_client.film.read.film import Picture, VideoFormat
from eden_client.film.read.film_file import to_picture
from eden_client.film.read.transparency import LATE_ALPHA, SAMPLES
from media.errors import MediaError
from media.images import Frame, decode_image, is_deep_png

ENDINGS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Endings of the files in a folder that are pictures, and Pillow's name of each format."""

PICTURE_RATE = Fraction(24)
"""Pictures per second where the caller gives no rate."""

_NO_LIMIT = 1 << 62


class ImageFilm:
    """Pictures in natural order (2 before 10), `rate` of them per second. Raises MediaError: there are none."""

    def __init__(self, paths: Sequence[Path], name: str, rate: Fraction) -> None:
        self.name, self._paths, self._rate = name, sorted(paths, key=natural), rate
        if not self._paths:
            raise MediaError(f"{name}: there are no pictures ({', '.join(ENDINGS)})")
        self.container: Path | None = None
        self.start = Fraction(0)
        self.beside = list[str]()
        self.ticks = [1 / rate]
        self.expected: int | None = len(self._paths)
        self.warnings = missing_numbers(self._paths)
        first = _read(self._paths[0])
        format = first.original.format if first.original else None
        self.look = VideoFormat(
            size=first.size,
            rate=rate,
            pixel_format=format.name if format else ("rgba" if first.alpha is not None else "rgb24"),
            bits=16 if format else 8,
            alpha=first.alpha is not None or any(_shows_through(path) for path in _spread(self._paths)),
        )

    def paths(self, first: int, last: int) -> Sequence[Path]:
        """The files of the pictures `first` to `last`, both included."""
        return self._paths[first : last + 1]

    def pictures(self, first: int = 0) -> Iterator[Picture]:
        """Each picture from index `first` on. Raises MediaError: one is damaged, or differs in size from the first."""
        height, width = self.look.size
        late_alpha = False
        for index, path in enumerate(self._paths[first:], first):
            picture = _read(path, index / self._rate)
            if picture.size != (height, width):
                size = f"{picture.size[1]}x{picture.size[0]}"
                raise MediaError(f"{path.name} is {size} pixels, the pictures before it are {width}x{height}")
            if picture.alpha is not None and not self.look.alpha:
                picture = Picture(picture.pixels, picture.time)
                if not late_alpha:
                    late_alpha = True
                    self.warnings.append(LATE_ALPHA.format(path.name))
            yield picture


class PartOfImages(ImageFilm):
    """Consecutive pictures of an `ImageFilm`, of which the first has the index `first`. `look`: of the whole film."""

    def __init__(self, paths: Sequence[Path], name: str, look: VideoFormat, first: int) -> None:
        super().__init__(paths, name, look.rate)
        self.look, self._before = look, first

    def pictures(self, first: int = 0) -> Iterator[Picture]:
        """Each picture from the film's index `first` on."""
        return super().pictures(first - self._before)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A sorting key that compares digits as numbers."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def missing_numbers(paths: Sequence[Path]) -> list[str]:
    """A warning that names the gaps in the pictures' numbering; empty where there are none."""
    numbers = [int(found[-1]) for path in paths if (found := re.findall(r"\d+", path.stem))]
    gaps = [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b > a + 1]
    if not gaps:
        return []
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in gaps[:8])
    more = f" and {len(gaps) - 8} more gaps" if len(gaps) > 8 else ""
    return [f"pictures are missing: {told}{more}; frames are drawn across these gaps"]


def _read(path: Path, time: Fraction = Fraction(0)) -> Picture:
    data = path.read_bytes()
    try:
        if is_deep_png(data):
            return _deep(data, time)
        pixels = decode_image(data, max_pixels=_NO_LIMIT, formats=tuple(dict.fromkeys(ENDINGS.values())))
    except MediaError as error:
        raise MediaError(f"{path.name}: {error}") from error
    return Picture(pixels, time, _alpha(path, pixels))


def _deep(data: bytes, time: Fraction) -> Picture:
    decode_image(data, max_pixels=_NO_LIMIT)  # FFmpeg accepts a truncated PNG, Pillow does not
    (frame,) = av.CodecContext.create("png", "r").decode(av.Packet(data))
    assert isinstance(frame, VideoFrame)
    return to_picture(frame, time, any(component.is_alpha for component in frame.format.components))


def _spread(paths: Sequence[Path]) -> list[Path]:
    """Some of the pictures, evenly spread."""
    count = min(SAMPLES, len(paths))
    return [paths[len(paths) * number // count] for number in range(1, count)] + [paths[-1]]


def _shows_through(path: Path) -> bool:
    """Whether a picture has transparency. False where it cannot be read: that is reported when its turn comes."""
    with suppress(OSError, ValueError, SyntaxError), Image.open(path) as image:
        return image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255
    return False


def _alpha(path: Path, pixels: Frame) -> np.ndarray | None:
    with Image.open(path) as image:
        if not image.has_transparency_data:
            return None
        alpha = np.array(image.convert("RGBA"))[..., 3]
    turned = alpha.shape != pixels.shape[:2]  # by its EXIF orientation
    return None if turned or alpha.min() == 255 else alpha
