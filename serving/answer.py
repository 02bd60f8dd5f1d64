"""Encodes frames as the bytes of an answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeGuard, get_args

import numpy as np

import media
from serving.errors import BadRequest, RegionUnavailable
from serving.options import CONTENT_TYPES, Rendering
from serving.regions import RegionFolder

DEFAULT_RATE = Fraction(24)
"""Frames per second of a source without a rate, for an answer as mp4."""

BOUNDARY = "eden-frame"
STREAM_CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
"""Content type of a streamed answer: one part per frame, sent as soon as it is drawn; browsers play it."""

Picture = Literal["png", "jpeg", "webp"]
IMAGES: tuple[Picture, ...] = get_args(Picture)


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    body: bytes
    content_type: str
    status: int = 200
    reason: str = ""
    """of an error: see serving.errors.reason"""
    retry_after: int | None = None
    """of a refusal: seconds, for the header Retry-After"""

    @classmethod
    def envelope(cls, content: Mapping[str, Any], reason: str) -> Answer:
        """An error's envelope as an answer."""
        body, code = json.dumps(content).encode(), int(content["code"])
        return cls(body, "application/json", code, reason, content.get("retry_after"))


def encode_answer(
    between: np.ndarray,
    source: np.ndarray | None,
    how: Rendering,
    pool: Executor | None = None,
    regions: RegionFolder | None = None,
) -> Answer:
    """Encode the frames between in the requested format; pictures in parallel, if a pool is given.

    between: uint8 [K-1, H, W, 3]; or planes, [K-1, H*3/2, W], for npy and regions only.
    source: uint8 [K, H, W, 3], for mp4 only, which contains the whole clip at twice the rate.
    regions: the folder for an answer in a shared memory region; its body then says what was written.
    Several frames in a picture format become a zip of pictures.
    Raises BadRequest if the format needs something that is missing, and RegionUnavailable.
    """
    if how.format == "mp4":
        if source is None:
            raise BadRequest(
                "mp4 holds the source frames too: ask the encoder for it (format=mp4), not only the decoder"
            )
        target = io.BytesIO()
        media.encode_video(_woven(source, between), 2 * Fraction(how.fps or DEFAULT_RATE), target)
        return Answer(target.getvalue(), CONTENT_TYPES["mp4"])
    if how.format == "region":
        return Answer(_into_region(between, how, regions), CONTENT_TYPES["region"])
    if how.format == "npy":
        return Answer(media.encode_npy(between), CONTENT_TYPES["npy"])
    inside: Picture = how.format if _is_picture(how.format) else "png"
    pictures = (pool.map if pool else map)(lambda frame: _picture(frame, inside, how.quality), between)
    if how.format == "zip":
        return Answer(media.zip_images(pictures, inside), CONTENT_TYPES["zip"])
    return answer_of_pictures(list(pictures), inside)


def answer_of_pictures(pictures: list[bytes], format: str) -> Answer:
    """An answer of pictures that are encoded already: one as it is, several as a zip."""
    if len(pictures) == 1:
        return Answer(pictures[0], CONTENT_TYPES[format])
    return Answer(media.zip_images(pictures, format), CONTENT_TYPES["zip"])


def encode_part(frame: np.ndarray, how: Rendering, number: int = 0, regions: RegionFolder | None = None) -> bytes:
    """One frame as a part of a streamed answer (multipart/x-mixed-replace).

    frame: uint8 [H, W, 3]; or planes, [H*3/2, W], for npy and regions only.
    number: the frame's index in the answer, for a region: the part then says what was written there.
    Raises BadRequest for a format that cannot be streamed, and RegionUnavailable.
    """
    if how.format == "region":
        return as_part(_into_region(frame[None], how, regions, number), CONTENT_TYPES["region"])
    if how.format == "npy":
        return as_part(media.encode_npy(frame[None]), CONTENT_TYPES["npy"])
    if not _is_picture(how.format):
        raise BadRequest(f"{how.format} cannot be streamed: ask for one of {', '.join(IMAGES)}, npy")
    return as_part(_picture(frame, how.format, how.quality), CONTENT_TYPES[how.format])


def as_part(body: bytes, content_type: str) -> bytes:
    """Wrap `body` as a part of a streamed answer."""
    return (
        f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"
    )


def stream_end() -> bytes:
    """The bytes that end a streamed answer."""
    return f"--{BOUNDARY}--\r\n".encode()


def _into_region(frames: np.ndarray, how: Rendering, regions: RegionFolder | None, first: int = 0) -> bytes:
    if regions is None:
        raise RegionUnavailable("the node that draws the frames takes no shared memory regions")
    assert how.place is not None
    return regions.write(how.place, frames, first)


def _is_picture(format: str) -> TypeGuard[Picture]:
    return format in IMAGES


def _picture(frame: np.ndarray, format: Picture, quality: int | None) -> bytes:
    return media.encode_image(frame, format, None if format == "png" else quality)


def _woven(source: np.ndarray, between: np.ndarray) -> Iterator[np.ndarray]:
    for frame, new in zip(source[:-1], between, strict=True):
        yield frame
        yield new
    yield source[-1]
