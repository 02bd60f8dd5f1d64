"""The layouts of a clip's frames in an array of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from media.errors import MediaError, shown

FrameLayout = Literal["rgb24", "i420"]
"""rgb24: [K, H, W, 3], red, green and blue of each pixel.

i420: [K, H*3/2, W] with even H and W: H rows of luma, then two planes of H/2 x W/2 samples of chroma (Cb, Cr), one
after the other in rows of W. Matrix and range of the colours are given separately.
"""
SHAPES: dict[FrameLayout, str] = {"rgb24": "[K, H, W, 3]", "i420": "[K, H*3/2, W] with even H and W"}


def are_planes(shape: Sequence[int]) -> bool:
    """Whether an array of `shape` can hold a frame as i420: [H*3/2, W] with even H and W."""
    return len(shape) == 2 and shape[0] % 3 == shape[1] % 2 == 0


def frame_size(shape: Sequence[int], layout: FrameLayout) -> tuple[int, int]:
    """(H, W) in pixels of the frames in an array of `shape`. Raises MediaError: it is not a shape of `layout`."""
    if layout == "rgb24" and len(shape) == 4 and shape[3] == 3 and min(shape) > 0:
        return shape[1], shape[2]
    if layout == "i420" and len(shape) == 3 and min(shape) > 0 and are_planes(shape[1:]):
        return shape[1] // 3 * 2, shape[2]
    raise MediaError(f"frames as {layout} are {SHAPES[layout]}, not {shown(list(shape))}")
