"""How large a clip may be, so that no request takes a server's memory, and none is worked on that can never fit."""

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
"""Pixels of a frame, where neither a setting nor the hand-off bounds it."""
LARGEST_CLIP = 1 << 30
"""Pixels of all frames of a clip, where no setting bounds them."""


@dataclass(frozen=True)
class TokenLayout:
    """How the tokens of a clip lie in a payload; with this every size is known before anything is encoded."""

    hidden_dim: int
    patch_size: int
    dtype: torch.dtype
    """as the encoder computes them"""
    wire: str | None = None
    """as they travel (see HandoffSettings)"""

    def nbytes(self, count: int, height: int, width: int, with_frames: bool = False) -> int:
        """Bytes of the payload of a clip of `count` frames; `with_frames`: its source frames travel along."""
        grid = padded_grid(height, width, self.patch_size)
        with torch.device("meta"):
            tokens = torch.empty(count, grid[0] * grid[1], self.hidden_dim, dtype=self.dtype)
            stats, apart = torch.empty(count), torch.empty(count - 1)
            frames = torch.empty(count, 3, height, width, dtype=torch.uint8) if with_frames else None
        output = EncoderOutput(tokens, tokens, stats, stats, apart, grid, (height, width), frames)
        return Layout.of(output, self.wire).nbytes

    def largest_clip(self, nbytes: int, height: int, width: int, with_frames: bool = False) -> int:
        """The most frames of a clip whose payload is at most `nbytes`; 0 or 1 where no pair fits."""
        pair = self.nbytes(2, height, width, with_frames)
        per_frame = (self.nbytes(1026, height, width, with_frames) - pair) / 1024
        count = max(0, 2 + int((nbytes - pair) // per_frame))
        # the header grows by a digit now and then
        while count >= 2 and self.nbytes(count, height, width, with_frames) > nbytes:
            count -= 1
        return count


@dataclass(frozen=True)
class ClipLimits:
    """What holds for every clip of a server."""

    max_pixels: int
    """of one frame"""
    max_frames: int
    """of one request"""
    max_clip_pixels: int
    """of all frames of a clip together"""
    max_decode_bytes: int = 4 << 30
    """that reading the clips of a batch may take; a batch is read in parts where it would take more"""
    fitting: Callable[[int, int, bool], int] | None = None
    """(height, width, whether the frames travel along) -> frames of that size that the hand-off can carry at once;
    None: there is no hand-off"""

    def largest_clip(self, height: int, width: int, with_frames: bool = False) -> int:
        """The most frames of that size that a request may hold."""
        most = min(self.max_frames, self.max_clip_pixels // (height * width))
        return most if self.fitting is None else min(most, self.fitting(height, width, with_frames))

    def check_bytes(self, nbytes: int) -> None:
        """Raises TooLarge for a clip that takes more memory to decode than a whole batch may."""
        if nbytes > self.max_decode_bytes:
            raise TooLarge(f"decoding this takes up to {nbytes} bytes: {self.max_decode_bytes} are there for it")

    def check_frames(self, count: int) -> None:
        """Raises TooLarge for more frames than a request may hold, of whatever size."""
        if count > self.max_frames:
            raise TooLarge(f"{count} frames, at most {self.max_frames} are taken at once", self.max_frames)

    def check(self, count: int, height: int, width: int, with_frames: bool = False) -> None:
        """Raises TooLarge for a clip that can never be served, saying how many of its frames can; BadRequest for frames
        that are too small."""
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
    """Limits with what was left open filled in. `payload`: the largest that the hand-off carries; None: there is none.

    Raises SettingsError where two settings contradict each other: what one lets in could never be served.
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
        # remembered: each request asks twice, of few sizes
        fitting = functools.lru_cache(256)(functools.partial(layout.largest_clip, payload))
    return ClipLimits(
        pixels, limits.max_frames, clip or max(LARGEST_CLIP, 2 * pixels), limits.max_decode_bytes, fitting
    )


def _largest_frame(layout: TokenLayout, payload: int) -> int:
    """Pixels of the largest frame of which two fit a payload."""
    side = 2 * layout.patch_size
    per_cell = layout.nbytes(2, 64 * side, 64 * side) / 64**2
    return min(LARGEST_FRAME, int(payload / per_cell) * side**2)
