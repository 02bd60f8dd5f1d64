"""Writes frames to a video file that plays anywhere: H.264, 4:2:0, BT.709."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from media.errors import MediaError
from media.images import Frame, check_frame
from media.names import file_url
from media.video_reader import SCALING

SLOWEST, FASTEST = Fraction(1, 1000), Fraction(2000)
"""Frames per second of a video that `encode_video` writes."""
LARGEST_TERM = 20_000_000
"""The limit for a rate's numerator and denominator: with B-frames, FFmpeg's mp4 writer fails on terms near 2^31."""
LARGEST_SIDE = 16384
"""x264's limit, in pixels per side."""
_BT709 = 1
"""H.273's number for BT.709 in all three fields: primaries, transfer, matrix."""


def encode_video(
    frames: Iterable[Frame],
    rate: Fraction,
    target: str | Path | BinaryIO,
    *,
    crf: int = 17,
    preset: str = "veryfast",
) -> int:
    """Write `frames` [H, W, 3] as an mp4 of `rate` frames per second to a path or a seekable file. Returns their count.

    4:2:0 halves both sides, so the last column or row is repeated where the width or height is odd.
    Raises MediaError: no frames, frames of different sizes or over LARGEST_SIDE, or a rate outside SLOWEST to FASTEST
    or with a term over LARGEST_TERM.
    """
    if not SLOWEST <= rate <= FASTEST or max(rate.numerator, rate.denominator) > LARGEST_TERM:
        about = float(min(rate, Fraction(10**9)))
        raise MediaError(
            f"a frame rate of {about:g} for an mp4: it must be from {SLOWEST} to {FASTEST}, its numerator and "
            f"denominator at most {LARGEST_TERM}"
        )
    count = 0
    on_disk = isinstance(target, str | Path)  # FFmpeg opens the file again to move the index to the front
    # By default mp4 counts in milliseconds, and a last frame that takes half of one is lost.
    options = {"movie_timescale": "90000"}
    if on_disk:
        options["movflags"] = "+faststart"
    place = file_url(target) if isinstance(target, str | Path) else target
    with av.open(place, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": preset})
        for frame in frames:
            check_frame(frame)
            even = _even(frame)
            if count == 0:
                size = frame.shape
                if max(size) > LARGEST_SIDE:
                    raise MediaError(f"an mp4 cannot hold {size[1]}x{size[0]} pixels: a side may be {LARGEST_SIDE}")
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = _BT709
                context.color_range = ColorRange.MPEG
            elif frame.shape != size:
                raise MediaError(f"frame {count} is {list(frame.shape)}, the frames before it are {list(size)}")
            picture = _yuv(even)
            picture.pts, picture.time_base = count, 1 / rate
            container.mux(stream.encode(picture))
            count += 1
        if count == 0:
            raise MediaError("no frames to make a video of")
        container.mux(stream.encode())
    return count


def _even(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return frame


def _yuv(frame: Frame) -> VideoFrame:
    return VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=SCALING,
    )
