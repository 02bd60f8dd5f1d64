"""Checks answers: every one for its format, number of frames and size; a sample of them pixel by pixel."""

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
"""In place of limits on pixels and frames: the size of an answer is checked before it is decoded."""

TOLERANCE = 4.0
"""Mean grey levels by which a frame may differ from its reference: rounding depends on the batch, and JPEG amplifies
it. In bf16, noise-like frames of random weights differed by 0.3, and by 2.2 in JPEG."""


class WrongAnswer(ValueError):
    """An answer differs from what was asked for. The message says how."""


def check(body: bytes, format: str, count: int, size: tuple[int, int]) -> None:
    """Check by its headers alone, which costs little, that an answer has `count` frames of `size` (H, W).

    Raises EdenError: it is an error's envelope, which a workflow sends with status 200; WrongAnswer: it is anything
    else but these frames.
    """
    if error := envelope_in(body):
        raise error
    try:
        found, (height, width) = _measure(body, format)
    except (OSError, ValueError, zipfile.BadZipFile, media.MediaError) as error:
        raise WrongAnswer(f"not a readable {format}: {error}") from error
    if format != "mp4" and found != count:  # the frames of an mp4 are counted only when it is decoded
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
    """The frames of a clip with one seed, and with another, to tell seeds apart. Asked for before the load begins."""

    seed: int
    frames: Sequence[np.ndarray]
    other_seed: Sequence[np.ndarray]

    def compare(self, frames: Sequence[np.ndarray]) -> None:
        """Compare frames [H, W, 3] with the reference. Raises WrongAnswer: another number, clip or seed."""
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
