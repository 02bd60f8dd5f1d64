"""Ways to make the frame between two. Each takes and gives uint8 frames [H, W, 3]."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from eden import DitDecoder, Encoder
from media import Frame

Method = Callable[[Frame, Frame], Frame]

MINTERPOLATE = {
    "minterpolate, blend": "mi_mode=blend",
    "minterpolate, mci": "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1",
}
"""Options of ffmpeg's filter for its two modes: it blends frames, or follows blocks that move."""


def methods(checkpoint: Path, device: str, precision: str) -> dict[str, Method]:
    """All methods by name, EDEN last. Raises CheckpointError."""
    return {
        "repeat": repeat,
        "average": average,
        **{name: _minterpolate(options) for name, options in MINTERPOLATE.items()},
        "EDEN": eden(checkpoint, device, precision),
    }


def repeat(first: Frame, last: Frame) -> Frame:
    return first


def average(first: Frame, last: Frame) -> Frame:
    return ((first.astype(np.uint16) + last + 1) // 2).astype(np.uint8)


def minterpolate(first: Frame, last: Frame, options: str) -> Frame:
    """The frame half-way between `first` and `last`, in a film that shows each twice: the filter needs neighbours.

    The film is in 4:4:4, since the filter does not take RGB. Its detection of cuts is off.
    """
    graph = av.filter.Graph()
    height, width = first.shape[:2]
    film = graph.add_buffer(width=width, height=height, format=VideoFormat("yuv444p"), time_base=Fraction(1))
    filtering = graph.add("minterpolate", f"fps=2:scd=none:{options}")
    end = graph.add("buffersink")
    film.link_to(filtering)
    filtering.link_to(end)
    graph.configure()
    made: dict[Fraction, VideoFrame] = {}
    for second, pixels in enumerate((first, first, last, last, None)):
        frame = None
        if pixels is not None:
            frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = second, Fraction(1)
        film.push(frame)
        _drain(end, made)
    drawn: Frame = made[Fraction(3, 2)].to_ndarray(format="rgb24")  # type: ignore[assignment]  # of 8 bits
    return drawn


def _drain(end: av.filter.context.FilterContext, made: dict[Fraction, VideoFrame]) -> None:
    """Take the frames that the filter has ready, by their time in seconds."""
    while True:
        try:
            frame = end.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame) and frame.pts is not None and frame.time_base is not None
        made[frame.pts * frame.time_base] = frame


def _minterpolate(options: str) -> Method:
    return lambda first, last: minterpolate(first, last, options)


def eden(checkpoint: Path, device: str, precision: str) -> Method:
    """EDEN with the weights in `checkpoint`, noise of seed 0. Raises CheckpointError."""
    encoder = Encoder.load(checkpoint, device, precision)
    decoder = DitDecoder.load(checkpoint, device, precision)

    def interpolate(first: Frame, last: Frame) -> Frame:
        pair = torch.from_numpy(np.stack([first, last])).permute(0, 3, 1, 2)
        (between,) = decoder.interpolate([encoder.encode(pair)], seeds=[0], as_uint8=True)
        frame: Frame = between[0].permute(1, 2, 0).numpy()
        return frame

    return interpolate
