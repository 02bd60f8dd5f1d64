"""Frames as planes of 4:2:0, as films hold them, and their conversion for servers that accept only RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from media import Frame
from media.video_reader import SCALING

Matrix = Literal["bt709", "bt601", "bt2020"]
Range = Literal["limited", "full"]

_COLORSPACES: dict[Matrix, Colorspace] = {
    "bt709": Colorspace.ITU709,
    "bt601": Colorspace.ITU601,
    "bt2020": Colorspace.BT2020,
}
_TAGS: dict[Matrix, int] = {"bt709": 1, "bt601": 6, "bt2020": 9}
"""H.273's numbers of the matrices."""
_RANGES: dict[Range, ColorRange] = {"limited": ColorRange.MPEG, "full": ColorRange.JPEG}


@dataclass(frozen=True)
class YuvFormat:
    """What the samples of planes mean. A frame of H x W pixels, both even, is then uint8 [H*3/2, W].

    Its rows are H of luma, then those of the two planes of H/2 x W/2 samples of chroma (Cb, Cr), one after the other:
    as `av.VideoFrame.to_ndarray(format="yuv420p")` gives them.

    matrix  bt601, bt709, or bt2020 (non-constant luminance)
    range   limited: luma from 16 to 235; full: from 0 to 255

    Raises ValueError for others.
    """

    matrix: Matrix = "bt709"
    range: Range = "limited"

    def __post_init__(self) -> None:
        for value, known in ((self.matrix, get_args(Matrix)), (self.range, get_args(Range))):
            if value not in known:
                raise ValueError(f"{value!r} is not one of {', '.join(known)}")

    def to_rgb(self, planes: Frame) -> Frame:
        """Planes [H*3/2, W] as RGB [H, W, 3]."""
        frame = VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.colorspace, frame.color_range = _TAGS[self.matrix], _RANGES[self.range]
        return frame.to_ndarray(format="rgb24", interpolation=SCALING).astype(np.uint8, copy=False)

    def from_rgb(self, pixels: Frame) -> Frame:
        """RGB [H, W, 3], both even, as planes [H*3/2, W]."""
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=_COLORSPACES[self.matrix],
            dst_color_range=_RANGES[self.range],
            interpolation=SCALING,
        )
        return frame.to_ndarray().astype(np.uint8, copy=False)
