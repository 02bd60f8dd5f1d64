"""FFmpeg's side data of a film's first picture: mastering display, light levels, stereo, and what gets lost."""

from __future__ import annotations

import struct
from contextlib import suppress
from fractions import Fraction
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from eden_client.film.read.film import Mastering

_LOST = {
    Type.SPHERICAL: "360-degree projection",
    Type.DYNAMIC_HDR_PLUS: "HDR10+",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid",
    Type.DOVI_METADATA: "Dolby Vision",
}
"""Side data that cannot be carried over."""

_STEREO = {
    1: ("left_right", "right_left"),
    2: ("top_bottom", "bottom_top"),
    3: ("block_lr", "block_rl"),
    4: ("checkerboard_lr", "checkerboard_rl"),
    6: ("row_interleaved_lr", "row_interleaved_rl"),
    7: ("col_interleaved_lr", "col_interleaved_rl"),
}
"""FFmpeg's numbers for two views in a picture, and Matroska's names: with the left view first, with the right first."""


def mastering_of(frame: VideoFrame) -> Mastering | None:
    """The mastering display; None: not stated."""
    data = _data(frame, Type.MASTERING_DISPLAY_METADATA)
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    *pairs, has_primaries, has_luminance = numbers
    if not (has_primaries and has_luminance and all(pairs[1::2])):
        return None
    values = [Fraction(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    red, green, blue, white, luminance = (tuple(values[at : at + 2]) for at in range(0, 10, 2))
    return Mastering((red[0], red[1]), (green[0], green[1]), (blue[0], blue[1]), (white[0], white[1]), *luminance)


def light_of(frame: VideoFrame) -> tuple[int, int] | None:
    """MaxCLL and MaxFALL, the light of the brightest pixel and of the brightest picture, in cd/m2; None: not stated."""
    data = _data(frame, Type.CONTENT_LIGHT_LEVEL)
    if data is None or len(data) < 8:
        return None
    most, average = struct.unpack("=2I", data[:8])
    return most, average


def stereo_of(frame: VideoFrame) -> str:
    """Matroska's name for how two views share a picture; empty: there is one view."""
    data = _data(frame, Type.STEREO3D)
    if data is None or len(data) < 8:
        return ""
    kind, flags = struct.unpack("=2i", data[:8])
    names = _STEREO.get(kind)
    return names[flags & 1] if names else ""


def lost_of(frame: VideoFrame) -> tuple[str, ...]:
    """Names of the side data that cannot be carried over."""
    return tuple(name for kind, name in _LOST.items() if _data(frame, kind) is not None)


def _data(frame: VideoFrame, kind: Type) -> bytes | None:
    with suppress(ValueError):  # FFmpeg has kinds that PyAV has no name for, EXIF's among them
        entries: Any = frame.side_data  # a container, whatever PyAV's types say
        for each in entries:
            with suppress(ValueError):
                if each.type == kind:
                    return bytes(each)
    return None
