"""The frames of a request: multipart images, a .npy array, or a short video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

import media
from serving.errors import BadRequest, shown
from serving.limits import ClipLimits
from serving.options import FIELDS
from serving.request import as_bytes

_FRAME = re.compile(r"frames?([0-9]{0,9})")
_SIDE_BY_SIDE = 8
_WHOLE = ("body", "data", "clip", "video")
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True)
class Clip:
    """Frames as they came."""

    frames: np.ndarray
    """[K, H, W, 3] uint8"""
    answer: str
    """the format of an answer to it, where the request names none"""
    rate: Fraction | None = None
    """frames a second, where the source has a rate"""


def read_clip(fields: Mapping[str, object], limits: ClipLimits, pool: Executor | None = None) -> Clip:
    """The clip that a request's fields hold; its pictures are decoded side by side in a pool, if one is given.

    Raises BadRequest, TooLarge or media.MediaError, naming the frame and what is wrong with it.
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
        clip = Clip(_stack(_read_images(frames, limits, pool)), "png" if len(frames) == 2 else "zip")
    if len(clip.frames) < 2:
        raise _too_few(len(clip.frames))
    return clip


def _read_images(fields: Mapping[str, object], limits: ClipLimits, pool: Executor | None) -> dict[str, np.ndarray]:
    if len(fields) < 2:
        raise _too_few(len(fields))
    limits.check_frames(len(fields))

    def number(name: str) -> int:
        digits = name.removeprefix("frames").removeprefix("frame")
        return int(digits) if digits else -1

    def decoded(name: str) -> np.ndarray:
        try:
            return media.decode_image(as_bytes(name, fields[name]), max_pixels=limits.max_pixels)
        except media.MediaError as error:
            raise BadRequest(f"{name}: {error}") from error

    names = sorted(fields, key=number)
    images: dict[str, np.ndarray] = {}
    # the first by itself, the rest a few at a time: what is over a limit is noticed before the rest takes memory
    for some in (names[:1], *_chunks(names[1:], _SIDE_BY_SIDE)):
        for name, image in zip(some, (pool.map if pool else map)(decoded, some), strict=True):
            images[name] = image
            limits.check(len(names), *image.shape[:2])
    return images


def _chunks(names: list[str], size: int) -> Iterator[list[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _stack(images: Mapping[str, np.ndarray]) -> np.ndarray:
    (first, image), *others = images.items()
    for name, other in others:
        if other.shape != image.shape:
            raise BadRequest(
                f"{name} is {other.shape[1]}x{other.shape[0]} pixels, {first} is {image.shape[1]}x{image.shape[0]}: "
                "frames of a clip have one size"
            )
    return np.stack(list(images.values()))


def _read_whole(data: bytes, limits: ClipLimits) -> Clip:
    if not data:
        raise BadRequest("the request is empty: send frames frame0, frame1, ..., a .npy array or a video")
    if data.startswith(media.NPY_MAGIC):
        frames = media.decode_npy(data, max_pixels=limits.max_pixels, max_frames=limits.max_frames)
        limits.check(*frames.shape[:3])
        return Clip(frames, "npy")
    if data.startswith(_PICTURE_MAGIC):
        raise _too_few(1)
    with media.open_video(data, max_pixels=limits.max_pixels, max_frames=limits.max_frames) as video:
        images = {}
        for i, frame in enumerate(video.frames()):
            images[f"frame {i}"] = frame
            limits.check(len(images), *frame.shape[:2])
        if len(images) < 2:
            raise _too_few(len(images))
        return Clip(_stack(images), "mp4", video.rate)


def _too_few(count: int) -> BadRequest:
    return BadRequest(f"{count} frame{'' if count == 1 else 's'}: at least two are needed")
