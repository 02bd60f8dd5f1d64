"""Frames to the bytes of an answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

import media
from handlers.faults import BadRequest
from handlers.options import CONTENT_TYPES

DEFAULT_RATE = Fraction(24)
"""Frames a second of a source that has no rate of its own, where an mp4 is asked for."""

BOUNDARY = "eden-frame"
STREAM_CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
"""A streamed answer: one part a frame, as soon as it is made; browsers show it as moving pictures."""

IMAGES = ("png", "jpeg", "webp")


@dataclass(frozen=True)
class Answer:
    """What goes back for one request."""

    body: bytes
    content_type: str
    status: int = 200

    @classmethod
    def envelope(cls, told: Mapping[str, Any]) -> Answer:
        """An error's envelope as an answer."""
        return cls(json.dumps(told).encode(), "application/json", int(told["code"]))


def encode_answer(
    between: np.ndarray,
    source: np.ndarray | None,
    format: str,
    quality: int | None,
    fps: str | None,
    each: Callable[..., Iterable[bytes]] = map,
) -> Answer:
    """Frames in the format asked for. `each` maps a function over frames: map, or a pool's.

    between: [K-1, H, W, 3] uint8, the new frames. source: [K, H, W, 3] uint8, only for mp4, which holds the whole clip
    at twice the rate. An image format with several frames gives a zip of such images.
    Raises BadRequest where the format needs what is not there.
    """
    if format == "mp4":
        if source is None:
            raise BadRequest(
                "mp4 holds the source frames too: ask the encoder for it (format=mp4), not only the decoder"
            )
        target = io.BytesIO()
        media.encode_video(_woven(source, between), 2 * Fraction(fps or DEFAULT_RATE), target)
        return Answer(target.getvalue(), CONTENT_TYPES["mp4"])
    if format == "npy":
        return Answer(media.encode_npy(between), CONTENT_TYPES["npy"])
    if format in IMAGES and len(between) == 1:
        return Answer(_picture(between[0], format, quality), CONTENT_TYPES[format])
    inside = format if format in IMAGES else "png"
    pictures = each(lambda frame: _picture(frame, inside, quality), between)
    return Answer(media.zip_images(pictures, inside), CONTENT_TYPES["zip"])


def encode_part(frame: np.ndarray, format: str, quality: int | None) -> bytes:
    """One frame [H, W, 3] uint8 as a part of a streamed answer (multipart/x-mixed-replace)."""
    if format not in (*IMAGES, "npy"):
        raise BadRequest(f"{format} cannot be streamed: ask for one of {', '.join(IMAGES)}, npy")
    body = media.encode_npy(frame[None]) if format == "npy" else _picture(frame, format, quality)
    return as_part(body, CONTENT_TYPES[format])


def as_part(body: bytes, content_type: str) -> bytes:
    """A part of a streamed answer."""
    return (
        f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"
    )


def stream_end() -> bytes:
    """What closes a streamed answer."""
    return f"--{BOUNDARY}--\r\n".encode()


def _picture(frame: np.ndarray, format: str, quality: int | None) -> bytes:
    return media.encode_image(frame, format, None if format == "png" else quality)


def _woven(source: np.ndarray, between: np.ndarray) -> Iterator[np.ndarray]:
    for frame, new in zip(source[:-1], between, strict=True):
        yield frame
        yield new
    yield source[-1]
