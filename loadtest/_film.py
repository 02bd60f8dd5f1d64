"""Draws and encodes the frames to send, before the load begins, so that this does not cost time during the load."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image
from urllib3 import encode_multipart_formdata

import media
from media.images import ImageFormat

RATE = Fraction(24)
"""Frames per second of a clip that is sent as a video."""

PARTS: dict[ImageFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
WHOLE = {"npy": "application/octet-stream", "mp4": "video/mp4"}
SENT_AS = (*PARTS, *WHOLE)
"""Formats in which frames can be sent: as one picture each, or as one body for all."""


@dataclass(frozen=True)
class Clip:
    """One request's frames, ready to be sent."""

    count: int
    """K, the number of frames"""
    size: tuple[int, int]
    """(H, W)"""
    body: bytes
    content_type: str
    fields: dict[str, bytes]
    """form fields for gRPC: one per frame, or one for all"""


class Scene:
    """A textured landscape that pans behind drifting clouds. All frames differ from each other.

    number  the scene's seed: equal numbers and sizes give equal frames
    """

    def __init__(self, number: int, height: int, width: int) -> None:
        self.size = height, width
        random = np.random.default_rng(number)
        self._far = _texture(random, 2 * height, 2 * width, 3)
        self._near = _texture(random, 2 * height, 2 * width, 3)
        self._mask = (_texture(random, 2 * height, 2 * width, 1) > 150).astype(np.uint8)
        self._speeds = random.uniform(2, 9, 4)

    def frame(self, index: int) -> np.ndarray:
        """Frame `index`, [H, W, 3] uint8."""
        far = self._window(self._far, index * self._speeds[0], index * self._speeds[1] / 4)
        near, mask = (
            self._window(layer, index * self._speeds[2], index * self._speeds[3] / 2)
            for layer in (self._near, self._mask)
        )
        seen: np.ndarray = far * (1 - mask) + near * mask
        return seen

    def _window(self, layer: np.ndarray, right: float, down: float) -> np.ndarray:
        height, width = self.size
        # moves back and forth, so that a scene never ends
        top, left = (_swing(int(by), room) for by, room in ((down, height), (right, width)))
        return layer[top : top + height, left : left + width]


def _swing(by: int, room: int) -> int:
    by %= 2 * room
    return by if by <= room else 2 * room - by


def _texture(random: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """[height, width, channels] uint8: noise at several scales, as in photographs."""
    total = np.zeros((height, width, channels), np.float32)
    for cell, strength in ((96, 1.0), (32, 0.5), (12, 0.25), (4, 0.08)):
        for channel in range(channels):
            grid = random.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
            grown = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
            total[..., channel] += strength * np.asarray(grown)
    return np.clip(128 + 60 * total, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Film:
    """A scene's frames, raw and encoded."""

    frames: list[np.ndarray]
    sent_as: str
    encoded: list[bytes]
    """one picture per frame; empty if all frames of a request make one body"""

    @classmethod
    def draw(cls, scene: Scene, count: int, sent_as: str, breathe: Callable[[], None] = lambda: None) -> Film:
        """Draw and encode `count` frames. `breathe` is called between them, to let other greenlets run.

        Raises ValueError: frames cannot be sent in this format.
        """
        if sent_as not in SENT_AS:
            raise ValueError(f"frames can be sent as {', '.join(SENT_AS)}, not {sent_as!r}")
        frames, encoded = [], []
        picture = next((format for format in PARTS if format == sent_as), None)
        for index in range(count):
            frames.append(scene.frame(index))
            if picture is not None:
                encoded.append(media.encode_image(frames[-1], picture, None if sent_as == "png" else 92))
            breathe()
        return cls(frames, sent_as, encoded)

    def clips(self, length: int, most: int) -> Iterator[Clip]:
        """Up to `most` different clips of `length` frames, spread over the film. Neighbours may overlap."""
        starts = len(self.frames) - length + 1
        if starts < 1:
            raise ValueError(f"a film of {len(self.frames)} frames holds no clip of {length}")
        for start in np.unique(np.linspace(0, starts - 1, min(starts, most)).astype(int)):
            yield self._clip(int(start), length)

    def _clip(self, start: int, length: int) -> Clip:
        frames = self.frames[start : start + length]
        if self.sent_as in PARTS:
            kind = PARTS[self.sent_as]
            fields = {f"frame{i}": picture for i, picture in enumerate(self.encoded[start : start + length])}
            body, content_type = encode_multipart_formdata(
                {name: (f"{name}.{self.sent_as}", picture, kind) for name, picture in fields.items()}
            )
        else:
            body, content_type = self._whole(frames), WHOLE[self.sent_as]
            fields = {"data": body}
        return Clip(length, frames[0].shape[:2], body, content_type, fields)

    def _whole(self, frames: list[np.ndarray]) -> bytes:
        if self.sent_as == "npy":
            return media.encode_npy(np.stack(frames))
        target = io.BytesIO()
        media.encode_video(frames, RATE, target)
        return target.getvalue()
