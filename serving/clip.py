"""The frames of a request: multipart images, a .npy array, or a short video; first looked at, then decoded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

import media
from eden import YuvFormat
from media import Peeked, peek
from media.frame_layout import FrameLayout
from media.peeking import Kind
from serving.errors import BadRequest, shown
from serving.limits import ClipLimits
from serving.options import KNOWN_FIELDS, check_agreement
from serving.regions import RegionFolder, RegionSource, look_at_region
from serving.request import as_bytes

_FRAME = re.compile(r"frames?([0-9]{0,9})")
_SIDE_BY_SIDE = 8
"""Pictures of a request that are decoded in parallel."""
FEW = 16
"""Frames that memory is allocated for at first, if their number is known only after decoding."""
GROWTH = 3
"""Memory for an array of unknown length, relative to its frames: when full it is copied into one twice as long."""
_REGION = "region"
_WHOLE = ("body", "data", "clip", "video", _REGION)
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
_PICTURES: tuple[Kind, ...] = ("picture",)
_CLIPS: tuple[Kind, ...] = ("npy", "video")


@dataclass(frozen=True)
class ClipSource:
    """The content of a request, as its files' headers state it."""

    parts: tuple[tuple[str, bytes], ...]
    """(name, bytes) of each picture, in order; or of the one body that is a whole clip"""
    peeked: Peeked
    """of the part that takes most memory to decode; all parts have one size"""
    count: int | None
    """number of frames, as stated; None if only decoding shows it"""
    yuv: YuvFormat | None = None
    """format of frames that are planes; None: RGB"""
    region: RegionSource | None = None
    """the shared memory region that holds the frames, if the request describes one"""

    @property
    def is_pictures(self) -> bool:
        return self.peeked.kind == "picture"

    @property
    def default_format(self) -> str:
        """Format of the answer if the request names none."""
        if self.region and self.region.description.answer:
            return "region"
        if self.is_pictures:
            return "png" if self.count == 2 else "zip"
        return "npy" if self.peeked.kind == "npy" else "mp4"

    def nbytes(self, most: int) -> int:
        """The most bytes that reading it takes, frames included; for `most` frames if their number is not known."""
        if self.peeked.kind == "npy":
            return self.peeked.decode_bytes
        at_once = min(_SIDE_BY_SIDE, len(self.parts)) * self.peeked.decode_bytes
        return at_once + (GROWTH * most if self.count is None else self.count) * self.peeked.frame_bytes


@dataclass(frozen=True)
class Clip:
    """The decoded frames of a request."""

    frames: np.ndarray
    """uint8 [K, H, W, 3]; planes, [K, H*3/2, W]"""
    rate: Fraction | None = None
    """frames per second, if the source has a rate"""


def look_at(
    fields: Mapping[str, object],
    limits: ClipLimits,
    regions: RegionFolder | None = None,
    is_region: bool = False,
    yuv: YuvFormat | None = None,
) -> ClipSource:
    """Read the headers of a request's fields: no pixel is decoded, and no more headers are read than frames allowed.

    regions: the folder of shared memory regions, if they are accepted · is_region: the one body describes a region, as
    a field `region` always does · yuv: format of frames that come as planes (a region's description has its own).
    Raises RegionUnavailable, BadRequest, TooLarge or media.MediaError, naming the frame and what is wrong with it.
    """
    frames = {name: value for name, value in fields.items() if _FRAME.fullmatch(name)}
    whole = {name: value for name, value in fields.items() if name in _WHOLE}
    unknown = set(fields) - set(frames) - set(whole) - set(KNOWN_FIELDS)
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise BadRequest(f"unknown field {shown(min(unknown))}{others}: frames are frame0, frame1, ...")
    if (frames and whole) or len(whole) > 1:
        some = [*list(frames)[:1], *whole]
        raise BadRequest(f"{' and '.join(some)} in one request: send frames or one body, not both")
    if whole:
        ((name, value),) = whole.items()
        data = as_bytes(name, value)
        if is_region or name == _REGION:
            return _look_at_region(name, data, regions, yuv)
        return _look_at_whole(name, data, yuv)
    if len(frames) < 2:
        raise _too_few(len(frames))
    limits.check_frames(len(frames))
    if yuv:
        raise BadRequest("layout is i420, but the frames are pictures: send a .npy, or describe a region")
    return _look_at_pictures(frames)


def _look_at_whole(name: str, data: bytes, yuv: YuvFormat | None) -> ClipSource:
    if not data:
        raise BadRequest("the request is empty: send frames frame0, frame1, ..., a .npy array or a video")
    if data.startswith(_PICTURE_MAGIC):
        raise _too_few(1)
    if yuv and not data.startswith(media.NPY_MAGIC):
        raise BadRequest("layout is i420, but the body is no .npy: send one, or describe a region")
    peeked = peek(data, _CLIPS, "i420" if yuv else "rgb24")
    if peeked.frames is not None and peeked.frames < 2:
        raise _too_few(peeked.frames)
    return ClipSource(((name, data),), peeked, peeked.frames, yuv)


def _look_at_region(name: str, data: bytes, regions: RegionFolder | None, yuv: YuvFormat | None) -> ClipSource:
    region = look_at_region(data, regions)
    described = region.description
    check_agreement(yuv, described.yuv, "the region's description")
    count = described.shape[0]
    if count < 2:
        raise _too_few(count)
    frames = Peeked("npy", *described.size, count, math.prod(described.shape))  # as a .npy's, without its header
    return ClipSource(((name, data),), frames, count, described.yuv, region)


def _look_at_pictures(fields: Mapping[str, object]) -> ClipSource:
    names = sorted(fields, key=lambda name: int(_FRAME.fullmatch(name)[1] or -1))  # type: ignore[index]
    parts = tuple((name, as_bytes(name, fields[name])) for name in names)
    first = _peek_picture(*parts[0])
    largest = first
    for name, data in parts[1:]:
        other = _peek_picture(name, data)
        if (other.height, other.width) != (first.height, first.width):
            raise BadRequest(
                f"{name} is {other.width}x{other.height} pixels, {names[0]} is {first.width}x{first.height}: "
                "frames of a clip have one size"
            )
        largest = max(largest, other, key=lambda peeked: peeked.decode_bytes)
    return ClipSource(parts, largest, len(parts))


def _peek_picture(name: str, data: bytes) -> Peeked:
    try:
        return peek(data, _PICTURES)
    except media.MediaError as error:
        raise BadRequest(f"{name}: {error}") from error


def read_clip(source: ClipSource, limits: ClipLimits, pool: Executor | None = None, with_frames: bool = False) -> Clip:
    """Decode the frames; pictures in parallel, if a pool is given. `with_frames`: see `ClipLimits.check`.

    Raises BadRequest, TooLarge or media.MediaError, naming the frame and what is wrong with it: headers may be false.
    """
    if source.region:
        return Clip(source.region.read())
    if source.is_pictures:
        return Clip(_read_pictures(source, limits, pool))
    ((_, data),) = source.parts
    if source.peeked.kind == "npy":
        layout: FrameLayout = "i420" if source.yuv else "rgb24"
        frames = media.decode_npy(data, max_pixels=limits.max_pixels, max_frames=limits.max_frames, layout=layout)
        return Clip(frames)
    return _read_video(data, source, limits, with_frames)


def _read_pictures(source: ClipSource, limits: ClipLimits, pool: Executor | None) -> np.ndarray:
    frames = np.empty((len(source.parts), source.peeked.height, source.peeked.width, 3), np.uint8)

    def decode(index: int) -> None:
        frames[index] = read_picture(source, index, limits)

    for some in _chunks(len(frames), _SIDE_BY_SIDE):
        list((pool.map if pool else map)(decode, some))
    return frames


def read_picture(source: ClipSource, index: int, limits: ClipLimits) -> np.ndarray:
    """One picture of a clip of pictures, [H, W, 3] uint8. Raises BadRequest, naming it."""
    name, data = source.parts[index]
    try:
        frame = media.decode_image(data, max_pixels=limits.max_pixels)
    except media.MediaError as error:
        raise BadRequest(f"{name}: {error}") from error
    if frame.shape[:2] != (source.peeked.height, source.peeked.width):
        raise BadRequest(f"{name}: its header states another size than it has")
    return frame


def _chunks(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _read_video(data: bytes, source: ClipSource, limits: ClipLimits, with_frames: bool) -> Clip:
    height, width = source.peeked.height, source.peeked.width
    most = limits.largest_clip(height, width, with_frames)
    with media.open_video(data, max_pixels=limits.max_pixels) as video:
        held = np.empty((source.count or FEW, height, width, 3), np.uint8)
        count = 0
        for count, frame in enumerate(video.frames(), 1):
            if count > most:
                limits.check(count, height, width, with_frames)
            if count > len(held):
                if source.count is not None:
                    raise BadRequest(f"the video holds more than the {source.count} frames that it states")
                limits.check_bytes(source.nbytes(count))
                longer = np.empty((2 * len(held), *held.shape[1:]), np.uint8)
                longer[: len(held)] = held
                held = longer
            if frame.shape != held.shape[1:]:
                raise BadRequest("the video's pictures are of another size than its header states")
            held[count - 1] = frame
        if count < 2:
            raise _too_few(count)
        return Clip(held[:count], video.rate)


def _too_few(count: int) -> BadRequest:
    return BadRequest(f"{count} frame{'' if count == 1 else 's'}: at least two are needed")
