"""How large a clip may be, so that no request exhausts a server's memory, and none is processed that can never fit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from eden import MIN_SIDE, EncoderOutput, padded_grid
from handoff.payload.layout import Layout
from serving.errors import BadRequest, TooLarge
from serving.settings import Limits, SettingsError

LARGEST_FRAME = 8192 * 4352
"""Most pixels of a frame, if neither a setting nor the hand-off limits it."""
LARGEST_CLIP = 1 << 30
"""Most pixels of all frames of a clip, if no setting limits them."""


@dataclass(frozen=True)
class TokenLayout:
    """The layout of a clip's tokens in a payload, from which its size is known before anything is encoded."""

    hidden_dim: int
    patch_size: int
    dtype: torch.dtype
    """type in which the encoder computes tokens"""
    wire: str | None = None
    """type in which they travel (see HandoffSettings)"""

    def nbytes(self, count: int, height: int, width: int, with_frames: bool = False) -> int:
        """Bytes of the payload of a clip of `count` frames. `with_frames`: its source frames are in the payload too."""
        grid = padded_grid(height, width, self.patch_size)
        with torch.device("meta"):
            tokens = torch.empty(count, grid[0] * grid[1], self.hidden_dim, dtype=self.dtype)
            stats, apart = torch.empty(count), torch.empty(count - 1)
            frames = torch.empty(count, 3, height, width, dtype=torch.uint8) if with_frames else None
        output = EncoderOutput(tokens, tokens, stats, stats, apart, grid, (height, width), frames)
        return Layout.of(output, self.wire).nbytes

    def largest_clip(self, nbytes: int, height: int, width: int, with_frames: bool = False) -> int:
        """The most frames of a clip whose payload has at most `nbytes` bytes; 0 or 1 if not even a pair fits."""
        pair = self.nbytes(2, height, width, with_frames)
        per_frame = (self.nbytes(1026, height, width, with_frames) - pair) / 1024
        count = max(0, 2 + int((nbytes - pair) // per_frame))
        # with more frames the header may grow by some digits
        while count >= 2 and self.nbytes(count, height, width, with_frames) > nbytes:
            count -= 1
        return count


@dataclass(frozen=True)
class ClipLimits:
    """Limits of a server for every clip."""

    max_pixels: int
    """pixels of one frame"""
    max_frames: int
    """frames of one request"""
    max_clip_pixels: int
    """pixels of all frames of a clip together"""
    max_decode_bytes: int = 4 << 30
    """bytes that reading the clips of a batch may take; a batch that would take more is read in parts"""
    fitting: Callable[[int, int, bool], int] | None = None
    """(height, width, whether the payload has the source frames) -> the most frames of that size that the hand-off can
    carry in one payload; None: there is no hand-off"""

    def largest_clip(self, height: int, width: int, with_frames: bool = False) -> int:
        """The most frames of that size that a request may hold."""
        most = min(self.max_frames, self.max_clip_pixels // (height * width))
        return most if self.fitting is None else min(most, self.fitting(height, width, with_frames))

    def check_bytes(self, nbytes: int) -> None:
        """Raises TooLarge for a clip that takes more memory to decode than a whole batch may."""
        if nbytes > self.max_decode_bytes:
            raise TooLarge(f"decoding this takes up to {nbytes} bytes: at most {self.max_decode_bytes} are allowed")

    def check_frames(self, count: int) -> None:
        """Raises TooLarge for more frames than a request may hold, whatever their size."""
        if count > self.max_frames:
            raise TooLarge(f"{count} frames, at most {self.max_frames} are taken at once", self.max_frames)

    def check(self, count: int, height: int, width: int, with_frames: bool = False) -> None:
        """Raises TooLarge for a clip that can never be served, saying how many of its frames could be.

        Raises BadRequest for frames that are too small. `with_frames`: the answer contains the source frames too.
        """
        if min(height, width) < MIN_SIDE:
            raise BadRequest(f"frames of {width}x{height} pixels: a side must be at least {MIN_SIDE}")
        if height * width > self.max_pixels:
            raise TooLarge(
                f"a frame of {width}x{height} = {height * width} pixels: at most {self.max_pixels} are taken"
            )
        self.check_frames(count)
        largest = self.largest_clip(height, width, with_frames)
        if count > largest:
            some = f"at most {largest} of them are" if largest > 1 else "not even two of them are"
            whole = ", with the source frames in the answer," if with_frames else ""
            raise TooLarge(f"a clip of {count} frames of {width}x{height} pixels{whole}: {some} taken at once", largest)


def clip_limits(limits: Limits, layout: TokenLayout, payload: int | None) -> ClipLimits:
    """The limits in the settings, with defaults. `payload`: bytes of the hand-off's largest; None: no hand-off.

    Raises SettingsError if two settings contradict each other, so that an accepted clip could never be served.
    """
    most = _largest_frame(layout, payload) if payload is not None else LARGEST_FRAME
    pixels, clip = limits.max_pixels, limits.max_clip_pixels
    if pixels is not None and pixels > most and payload is not None:
        raise SettingsError(
            f"limits.max_pixels is {pixels}, but two frames of more than {most} pixels are over {payload} bytes of "
            "tokens (handoff.max_payload_bytes): allow fewer pixels or larger payloads, or set handoff.wire to bf16"
        )
    pixels = min(most, clip // 2 if clip else most) if pixels is None else pixels
    if clip is not None and clip < 2 * pixels:
        raise SettingsError(f"limits.max_clip_pixels is {clip}, less than two frames of {pixels} (limits.max_pixels)")
    fitting: Callable[[int, int, bool], int] | None = None
    if payload is not None:
        # cached: each request asks twice, and there are few sizes
        fitting = functools.lru_cache(256)(functools.partial(layout.largest_clip, payload))
    return ClipLimits(
        pixels, limits.max_frames, clip or max(LARGEST_CLIP, 2 * pixels), limits.max_decode_bytes, fitting
    )


def _largest_frame(layout: TokenLayout, payload: int) -> int:
    """Pixels of the largest frame of which two fit a payload."""
    side = 2 * layout.patch_size
    per_cell = layout.nbytes(2, 64 * side, 64 * side) / 64**2
    return min(LARGEST_FRAME, int(payload / per_cell) * side**2)
