"""The frames of a request: multipart images, a .npy array, or a short video."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

import media
from eden import MIN_SIDE
from handlers.faults import BadRequest, shown
from handlers.fields import as_bytes
from handlers.options import FIELDS

_FRAME = re.compile(r"frames?([0-9]{0,9})")
_SIDE_BY_SIDE = 8
_WHOLE = ("body", "data", "clip", "video")
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True)
class Limits:
    """What a request may hold, so that no single one can take the server's memory."""

    max_pixels: int = 8192 * 4352
    """of one frame"""
    max_frames: int = 512
    max_clip_pixels: int = 1 << 30
    """of all frames of a clip together"""


@dataclass(frozen=True)
class Clip:
    """Frames as they came."""

    frames: np.ndarray
    """[K, H, W, 3] uint8"""
    answer: str
    """the format of an answer to it, where the request names none"""
    rate: Fraction | None = None
    """frames a second, where the source has a rate"""


def read_clip(fields: Mapping[str, object], limits: Limits, each: Callable[..., Iterable[Any]] = map) -> Clip:
    """The clip that a request's fields hold. `each` maps a function over pictures: map, or a pool's.

    Raises BadRequest or media.MediaError, naming the frame and what is wrong with it.
    """
    frames = {name: value for name, value in fields.items() if _FRAME.fullmatch(name)}
    whole = {name: value for name, value in fields.items() if name in _WHOLE}
    unknown = set(fields) - set(frames) - set(whole) - set(FIELDS)
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise BadRequest(f"unknown field {shown(min(unknown))}{others}: frames are frame0, frame1, ...")
    if (frames and whole) or len(whole) > 1:
        some = [*list(frames)[:1], *whole]
        raise BadRequest(f"{' and '.join(some)} in one request: send frames or one body, not both")
    if whole:
        ((name, value),) = whole.items()
        clip = _read_whole(as_bytes(name, value), limits)
    else:
        clip = Clip(_stack(_read_images(frames, limits, each)), "png" if len(frames) == 2 else "zip")
    count, height, width, _ = clip.frames.shape
    if count < 2:
        raise _too_few(count)
    if min(height, width) < MIN_SIDE:
        raise BadRequest(f"frames of {width}x{height} pixels: a side must be at least {MIN_SIDE}")
    return clip


def _read_images(
    fields: Mapping[str, object], limits: Limits, each: Callable[..., Iterable[Any]]
) -> dict[str, np.ndarray]:
    if len(fields) < 2:
        raise _too_few(len(fields))
    if len(fields) > limits.max_frames:
        raise BadRequest(f"{len(fields)} frames, at most {limits.max_frames} are taken at once", code=413)

    def number(name: str) -> int:
        digits = _FRAME.fullmatch(name).group(1)
        return int(digits) if digits else -1

    def decoded(name: str) -> np.ndarray:
        try:
            return media.decode_image(as_bytes(name, fields[name]), max_pixels=limits.max_pixels)
        except media.MediaError as error:
            raise BadRequest(f"{name}: {error}") from error

    names = sorted(fields, key=number)
    images: dict[str, np.ndarray] = {}
    # a few at a time: what is over the limit is noticed before the rest takes memory
    for start in range(0, len(names), _SIDE_BY_SIDE):
        some = names[start : start + _SIDE_BY_SIDE]
        for name, image in zip(some, each(decoded, some), strict=True):
            images[name] = image
            _check_pixels(len(images), image, limits)
    return images


def _check_pixels(count: int, frame: np.ndarray, limits: Limits) -> None:
    if count * frame.shape[0] * frame.shape[1] > limits.max_clip_pixels:
        raise BadRequest(f"the clip holds more than {limits.max_clip_pixels} pixels in all", code=413)


def _stack(images: Mapping[str, np.ndarray]) -> np.ndarray:
    (first, image), *others = images.items()
    for name, other in others:
        if other.shape != image.shape:
            raise BadRequest(
                f"{name} is {other.shape[1]}x{other.shape[0]} pixels, {first} is {image.shape[1]}x{image.shape[0]}: "
                "frames of a clip have one size"
            )
    return np.stack(list(images.values()))


def _read_whole(data: bytes, limits: Limits) -> Clip:
    if not data:
        raise BadRequest("the request is empty: send frames frame0, frame1, ..., a .npy array or a video")
    if data.startswith(media.NPY_MAGIC):
        frames = media.decode_npy(data, max_pixels=limits.max_pixels, max_frames=limits.max_frames)
        return Clip(frames, "npy")
    if data.startswith(_PICTURE_MAGIC):
        raise _too_few(1)
    with media.open_video(data, max_pixels=limits.max_pixels, max_frames=limits.max_frames) as video:
        images = {}
        for i, frame in enumerate(video.frames()):
            images[f"frame {i}"] = frame
            _check_pixels(len(images), frame, limits)
        if len(images) < 2:
            raise _too_few(len(images))
        return Clip(_stack(images), "mp4", video.rate)


def _too_few(count: int) -> BadRequest:
    return BadRequest(f"{count} frame{'' if count == 1 else 's'}: at least two are needed")
