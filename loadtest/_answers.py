"""Is an answer what was asked for? All are checked for kind, number and size; a sample is compared pixel by pixel."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

import media
from eden_client.api.errors import envelope_in

NO_LIMIT = 1 << 40
"""Pixels and frames: an answer is as large as what was asked for, and that is checked first."""

TOLERANCE = 4.0
"""Grey levels, on average, by which a frame may differ from its reference: rounding differs from batch to batch, and
JPEG makes more of it. In bf16, noise-like frames of random weights differed by 0.3, and by 2.2 once in JPEG."""


class WrongAnswer(ValueError):
    """An answer that is not what was asked for; the message says in what."""


def check(body: bytes, format: str, count: int, size: tuple[int, int]) -> None:
    """Check an answer of `count` frames of `size` (H, W) by its headers alone, so that checking costs next to nothing.

    Raises EdenError for an error's envelope (in a workflow it comes with status 200), WrongAnswer for anything else.
    """
    if error := envelope_in(body):
        raise error
    try:
        found, (height, width) = _measure(body, format)
    except (OSError, ValueError, zipfile.BadZipFile, media.MediaError) as error:
        raise WrongAnswer(f"not a readable {format}: {error}") from error
    if format != "mp4" and found != count:  # an mp4's frames are only counted where it is decoded
        raise WrongAnswer(f"{found} frames, {count} were asked for")
    if (height, width) != tuple(size):
        raise WrongAnswer(f"frames of {width}x{height}, {size[1]}x{size[0]} were sent")


def _measure(body: bytes, format: str) -> tuple[int, tuple[int, int]]:
    if format == "npy":
        with io.BytesIO(body) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of npy")
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            if len(body) - file.tell() != np.prod(shape):
                raise ValueError("cut off")
        return shape[0], (shape[1], shape[2])
    if format == "mp4":
        with media.open_video(body) as video:
            return 0, video.size
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            names = archive.namelist()
            return len(names), _picture_size(archive.read(names[0]), format)
    return 1, _picture_size(body, format)


def _picture_size(data: bytes, format: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        if picture.format != format.upper():
            raise ValueError(f"it is a {picture.format}")
        return picture.height, picture.width


def decode(body: bytes, format: str) -> list[np.ndarray]:
    """The new frames of an answer, [H, W, 3] uint8 each. An mp4 holds the whole clip: every other frame is new."""
    if format == "npy":
        return list(media.decode_npy(body, max_pixels=NO_LIMIT, max_frames=NO_LIMIT))
    if format == "mp4":
        with media.open_video(body) as video:
            return list(video.frames())[1::2]
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return [media.decode_image(archive.read(name), max_pixels=NO_LIMIT) for name in sorted(archive.namelist())]
    return [media.decode_image(body, max_pixels=NO_LIMIT)]


@dataclass(frozen=True)
class Reference:
    """The frames of one clip under one seed and, to tell seeds apart, under another; asked for before the load."""

    seed: int
    frames: Sequence[np.ndarray]
    other_seed: Sequence[np.ndarray]

    def compare(self, frames: Sequence[np.ndarray]) -> None:
        """Raises WrongAnswer where frames are not those of this clip and seed."""
        if len(frames) != len(self.frames):
            raise WrongAnswer(f"{len(frames)} frames, {len(self.frames)} were asked for")
        for number, (got, right, wrong) in enumerate(zip(frames, self.frames, self.other_seed, strict=True)):
            distance = _distance(got, right)
            if distance > TOLERANCE:
                raise WrongAnswer(f"frame {number} is {distance:.1f} grey levels off: another request's?")
            if distance > 0.5 * _distance(right, wrong):
                raise WrongAnswer(f"frame {number} is no nearer to its own seed's than to another seed's")


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())
