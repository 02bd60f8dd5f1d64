"""How an animation ends: how long its last picture is held, and how often it is played."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from eden_client.film.read.packets import packets_of
from eden_client.film.read.streams import film_stream
from media.names import open_input

_READ_WHOLE = ("gif", "apng", "webp")
"""Formats in which FFmpeg cannot seek. Their files are small, and are read whole."""


def hold_of_last(path: Path) -> Fraction:
    """Seconds for which the last picture of a video file is shown; 0 where the file does not state it."""
    last, hold = None, Fraction(0)
    try:
        with open_input(path) as container:
            stream = film_stream(container)
            if stream is None:
                return hold
            if stream.duration and container.format.name not in _READ_WHOLE:
                container.seek((stream.start_time or 0) + stream.duration, stream=stream)
            for packet in packets_of(container, [stream]):
                if packet.pts is not None and (last is None or packet.pts > last):
                    last, hold = packet.pts, (packet.duration or 0) * packet.time_base
            if last is not None and stream.duration and stream.time_base and "mp4" in container.format.name:
                # MP4 states when a track ends; the last picture shown need not be the last one coded
                hold = ((stream.start_time or 0) + stream.duration - last) * stream.time_base
    except (av.FFmpegError, ValueError):  # damage is reported where the pictures are read
        return Fraction(0)
    return hold


def gif_loops(path: Path) -> int:
    """The loop count of a GIF that is to play as often as this animation: 0 for ever, -1 once, n: again n times.

    A file that is no animation gives 0.
    """
    try:
        with Image.open(path) as image:
            kind, loop = image.format, image.info.get("loop")
    except (OSError, ValueError, Image.DecompressionBombError):
        return 0
    if kind == "GIF":
        return -1 if loop is None else int(loop)
    return int(loop) - 1 or -1 if loop else 0
