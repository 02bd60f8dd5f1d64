"""Finds whether a film has transparent pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.packets import packets_of
from eden_client.film.read.streams import decoder_of
from media.images import Frame
from media.names import open_input

SAMPLES = 16
"""Pictures of a film, evenly spread, that are searched for transparency."""
LATE_ALPHA = "the film becomes transparent at {}: laid on black from there"
"""The note where these samples were opaque, and a later picture is not."""

_WITHOUT_SEEKING = ("gif", "apng")
_PACKED = ("rgba", "bgra", "argb", "abgr")
_MOST = 600
"""Pictures that are searched in a format without seeking."""


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame's format can hold transparency (every GIF's can, and few use it)."""
    return frame.format.name == "pal8" or any(c.is_alpha for c in frame.format.components)


def is_transparent(frame: VideoFrame) -> bool:
    """Whether any pixel of a frame is not opaque."""
    if not has_alpha(frame):
        return False
    name, planes, bits = frame.format.name, frame.planes, frame.format.components[-1].bits
    if name in _PACKED:
        rows = np.frombuffer(memoryview(planes[0]), np.uint8).reshape(frame.height, -1)
        return bool(rows[:, name.index("a") : 4 * frame.width : 4].min() < 255)
    if len(planes) == 4 and (bits == 8 or name.endswith("le")):
        rows = np.frombuffer(memoryview(planes[3]), np.uint8 if bits == 8 else "<u2").reshape(frame.height, -1)
        return bool(rows[:, : frame.width].min() < (1 << bits) - 1)
    return int(frame.to_ndarray(format="rgba")[..., 3].min()) < 255


def laid_on_black(rgba: np.ndarray) -> tuple[Frame, np.ndarray | None]:
    """RGBA [H, W, 4] uint8 as RGB [H, W, 3] on black, and its alpha [H, W]; None where all of it is opaque."""
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3]), None
    wide = rgba.astype(np.uint16)
    return ((wide[..., :3] * wide[..., 3:] + 127) // 255).astype(np.uint8), np.ascontiguousarray(alpha)


def becomes_transparent(path: Path, index: int) -> bool:
    """Whether one of `SAMPLES` pictures of stream `index` is not opaque."""
    with open_input(path) as container, suppress(av.FFmpegError):
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        return any(map(is_transparent, _samples(container, stream)))
    return False


def _samples(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    context, start, length = decoder_of(stream), container.start_time or 0, container.duration or 0
    if container.format.name in _WITHOUT_SEEKING or not length:
        for packet in islice(packets_of(container, [stream]), _MOST):
            yield from context.decode(packet)
        return
    for sample in range(1, SAMPLES + 1):
        moment = start + length * sample // (SAMPLES + 1)
        container.seek(moment)
        context.flush_buffers()
        for packet in packets_of(container, [stream]):
            yield from context.decode(packet)
            if packet.pts is None or packet.pts * packet.time_base * av.time_base >= moment:
                break
