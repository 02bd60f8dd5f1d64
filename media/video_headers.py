"""Reads the headers of MP4, MOV, Matroska and WebM without FFmpeg (ISO 14496-12, RFC 9559).

FFmpeg decodes pictures to find out what a stream holds, and trusts a table of twenty bytes that claims a billion
samples. Here nothing is decoded, every loop is bounded, and such tables are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import mmap

EBML_MAGIC = b"\x1a\x45\xdf\xa3"
MOST_SAMPLES = 1 << 20
"""The most samples of all tracks together, without those of PCM sound: enough for hours of a film with sound."""
WIDEST_PIXEL = 8.0
"""Bytes per decoded pixel in the widest of FFmpeg's usual formats: four channels of 16 bits."""
_MOST_PARTS = 1 << 16
_MP4_FRONT = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx", b"uuid")
_MP4_NESTED = (
    b"moov",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"moof",
    b"traf",
    b"edts",
    b"mvex",
    b"dinf",
    b"udta",
    b"tref",
)
_PLANES = {0: 1.5, 1: 1.5, 2: 2.0, 3: 3.0}
"""Samples per pixel, by chroma_format_idc. FFmpeg adds chroma to grey pictures too."""
_ALPHA = 1.0
"""Samples per pixel of an alpha channel, which VP8 and H.265 may have without stating it in their headers."""
_DEEP_H264 = (110, 122, 144, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""H.264's profiles that may hold more than 4:2:0 of 8 bits."""
_EIGHT_BITS = (b"vp08", b"mp4v", b"V_VP8", b"V_MPEG4/ISO/ASP")


@dataclass(frozen=True)
class VideoHeader:
    """The first video track."""

    height: int
    """pixels, as stored"""
    width: int
    quarter_turns: int
    """by which a player turns it, counterclockwise"""
    frames: int | None
    """None: the container does not state it"""
    pixel_bytes: float
    """bytes per decoded pixel; WIDEST_PIXEL where the header does not state the format"""
    samples: int = 0
    """number of samples of all tracks, by the tables that FFmpeg reads when it opens the file"""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright frames."""
        return (self.width, self.height) if self.quarter_turns % 2 else (self.height, self.width)


class NoVideo(ValueError):
    """The file is not damaged, but has no video track."""


def is_video(data: bytes) -> bool:
    """Whether these bytes begin as MP4, MOV, Matroska or WebM do."""
    return data.startswith(EBML_MAGIC) or data[4:8] in _MP4_FRONT


def read_video_header(data: bytes) -> VideoHeader:
    """The header of the first video track. Raises NoVideo; ValueError: damaged, or another container."""
    try:
        if data.startswith(EBML_MAGIC):
            return _matroska(data)
        if data[4:8] in _MP4_FRONT:
            return _mp4(data)
    except (IndexError, struct.error, OverflowError) as error:
        raise ValueError("a video with a damaged header") from error
    raise ValueError("neither MP4 nor Matroska")


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an MP4 between two offsets, each as (kind, start of its content, end)."""
    end = min(end, len(data))
    for _ in range(_MOST_PARTS):
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= end:
            (size,), start = struct.unpack_from(">Q", data, start), at + 16
        elif size == 0:
            size = end - at
        if at + size < start:
            return
        yield kind, start, min(at + size, end)
        at += size
    raise ValueError(f"more than {_MOST_PARTS} boxes")


def _child(data: bytes, box: tuple[int, int] | None, *path: bytes) -> tuple[int, int] | None:
    """The first box at `path` below `box`."""
    for name in path:
        if box is None:
            return None
        box = next(((start, end) for kind, start, end in _boxes(data, *box) if kind == name), None)
    return box


def _mp4(data: bytes) -> VideoHeader:
    movie = next(((start, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"moov"), None)
    if movie is None:
        raise ValueError("an MP4 without its index")
    samples = _samples(data)
    if samples > min(MOST_SAMPLES, len(data)):
        raise ValueError(f"tables of {samples} samples")
    for kind, start, end in _boxes(data, *movie):
        if kind == b"trak":
            handler = _child(data, (start, end), b"mdia", b"hdlr")
            if handler and data[handler[0] + 8 : handler[0] + 12] == b"vide":
                return replace(_mp4_track(data, (start, end)), samples=samples)
    raise NoVideo("no video track")


def _samples(data: bytes) -> int:
    """The number of samples in the tables that FFmpeg expands when it opens a file, without those of PCM sound."""
    total, parts, waiting = 0, 0, list[tuple[bool | None, int, int]]([(None, 0, len(data))])
    while waiting:
        outer, first, last = waiting.pop()
        sizes, steps = 0, list[bytes]()
        for kind, start, end in _boxes(data, first, last):
            parts += 1
            sound = outer
            if kind in _MP4_NESTED:
                if kind == b"trak" and outer is None:  # a track inside a track would be counted twice
                    sound = data.find(b"soun", start, end) >= 0 and data.find(b"vide", start, end) < 0
                waiting.append((sound, start, end))
            elif kind in (b"stsz", b"stz2"):
                sizes += int.from_bytes(data[start + 8 : start + 12])
            elif kind == b"stts":
                steps.append(data[start + 4 : start + 16])
            elif kind == b"trun":
                total += int.from_bytes(data[start + 4 : start + 8])
        if parts > _MOST_PARTS:
            raise ValueError(f"more than {_MOST_PARTS} boxes")
        # A single entry with a duration of one tick: this is PCM, for which FFmpeg keeps one line per chunk.
        pcm = bool(outer) and len(steps) == 1 and steps[0][:4] == b"\0\0\0\1" and steps[0][8:] == b"\0\0\0\1"
        total += 0 if pcm else sizes
    return total


def _mp4_track(data: bytes, track: tuple[int, int]) -> VideoHeader:
    description = _child(data, track, b"mdia", b"minf", b"stbl", b"stsd")
    if description is None:
        raise ValueError("a track without a description")
    entry = next(_boxes(data, description[0] + 8, description[1]), None)
    if entry is None:
        raise ValueError("a track without a description")
    codec, start, end = entry
    width, height = struct.unpack_from(">HH", data, start + 24)
    placed = _child(data, track, b"tkhd")
    turns = _mp4_turns(data, placed[0]) if placed else 0
    settings = {kind: data[at : min(stop, at + 1024)] for kind, at, stop in _boxes(data, start + 78, end)}
    sizes = _child(data, track, b"mdia", b"minf", b"stbl", b"stsz")
    frames = int.from_bytes(data[sizes[0] + 8 : sizes[0] + 12]) if sizes else 0
    return _checked(VideoHeader(height, width, turns, frames or None, _pixel_bytes(codec, settings)))


def _mp4_turns(data: bytes, at: int) -> int:
    """Quarter turns counterclockwise, by the display matrix of a track."""
    matrix = struct.unpack_from(">9i", data, at + (52 if data[at] == 1 else 40))
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if not (math.hypot(a, c) and math.hypot(b, d)):
        return 0
    degrees = -math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))
    return round(degrees / 90) % 4


def _pixel_bytes(codec: bytes, settings: dict[bytes, bytes]) -> float:
    """Bytes per decoded pixel, by the codec's configuration."""
    if avcc := settings.get(b"avcC"):
        return _avc_pixel_bytes(avcc)
    if (hvcc := settings.get(b"hvcC")) and len(hvcc) > 18:
        return (_PLANES[hvcc[16] & 3] + _ALPHA) * (2 if hvcc[17] & 7 or hvcc[18] & 7 else 1)
    if (av1c := settings.get(b"av1C")) and len(av1c) > 2:
        chroma = 0 if av1c[2] & 0x10 else {3: 1, 2: 2}.get(av1c[2] >> 2 & 3, 3)
        return _PLANES[chroma] * (2 if av1c[2] & 0x40 else 1)
    if (vpcc := settings.get(b"vpcC")) and len(vpcc) > 6:
        return {0: 1.5, 1: 1.5, 2: 2.0}.get(vpcc[6] >> 1 & 7, 3.0) * (2 if vpcc[6] >> 4 > 8 else 1)
    return _PLANES[1] + _ALPHA if codec in _EIGHT_BITS else WIDEST_PIXEL


def _avc_pixel_bytes(avcc: bytes) -> float:
    """Bytes per decoded pixel of H.264, by its profile. Deep profiles state their format after their parameter sets."""
    if len(avcc) < 7:
        return WIDEST_PIXEL
    if avcc[1] not in _DEEP_H264:
        return 1.5
    at = 5
    for mask in (0x1F, 0xFF):
        if at >= len(avcc):
            return WIDEST_PIXEL
        count, at = avcc[at] & mask, at + 1
        for _ in range(count):
            at += 2 + int.from_bytes(avcc[at : at + 2])
    if at + 3 > len(avcc):
        return WIDEST_PIXEL
    return _PLANES[avcc[at] & 3] * (2 if avcc[at + 1] & 7 or avcc[at + 2] & 7 else 1)


_SEGMENT, _TRACKS, _TRACK = 0x18538067, 0x1654AE6B, 0xAE
_TYPE, _CODEC, _PRIVATE, _VIDEO, _WIDTH, _HEIGHT = 0x83, 0x86, 0x63A2, 0xE0, 0xB0, 0xBA
_PROJECTION, _ROLL = 0x7670, 0x7675
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)
"""Matroska's IDs of PixelCrop: left, top, right, bottom."""
_PRIVATE_KINDS = {b"V_MPEG4/ISO/AVC": b"avcC", b"V_MPEGH/ISO/HEVC": b"hvcC", b"V_AV1": b"av1C"}


def matroska_crops(data: bytes | mmap) -> list[tuple[int, int, int, int]]:
    """Per video track of a Matroska file, the pixels not to be shown: (left, top, right, bottom).

    Empty where its header cannot be read.
    """
    try:
        videos = [_within(data, *track[_VIDEO]) for track in _video_tracks(data)]
    except (ValueError, IndexError):
        return []
    edges = [[_number(data, video.get(name)) for name in _CROPS] for video in videos]
    return [(left, top, right, bottom) for left, top, right, bottom in edges]


def _elements(data: bytes | mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Matroska's elements between two offsets, each as (ID, start of its content, end). Unknown lengths go to `end`."""
    end = min(end, len(data))
    for _ in range(_MOST_PARTS):
        if at + 2 > end:
            return
        width = 9 - data[at].bit_length()
        if width > 4:
            return
        name = int.from_bytes(data[at : at + width])
        at += width
        length_width = 9 - data[at].bit_length() if at < end else 9
        if length_width > 8:
            return
        mask = (1 << 7 * length_width) - 1
        length = int.from_bytes(data[at : at + length_width]) & mask
        at += length_width
        stop = end if length == mask else min(at + length, end)
        yield name, at, stop
        at = stop
    raise ValueError(f"more than {_MOST_PARTS} elements")


def _within(data: bytes | mmap, start: int, end: int) -> dict[int, tuple[int, int]]:
    """The last element of each ID, as (start, end)."""
    return {name: (at, stop) for name, at, stop in _elements(data, start, end)}


def _matroska(data: bytes) -> VideoHeader:
    for track in _video_tracks(data):
        return _matroska_track(data, track)
    raise NoVideo("no video track")


def _video_tracks(data: bytes | mmap) -> Iterator[dict[int, tuple[int, int]]]:
    """The elements of each video track. Raises ValueError: there are no tracks."""
    tracks = next(
        (
            (at, stop)
            for name, start, end in _elements(data, 0, len(data))
            if name == _SEGMENT
            for child, at, stop in _elements(data, start, end)
            if child == _TRACKS
        ),
        None,
    )
    if tracks is None:
        raise ValueError("a Matroska file without tracks")
    for name, start, end in _elements(data, *tracks):
        if name != _TRACK:
            continue
        track = _within(data, start, end)
        if _number(data, track.get(_TYPE)) == 1 and _VIDEO in track:
            yield track


def _matroska_track(data: bytes, track: dict[int, tuple[int, int]]) -> VideoHeader:
    video = _within(data, *track[_VIDEO])
    codec = data[slice(*track.get(_CODEC, (0, 0)))][:64].rstrip(b"\0")
    private = data[slice(*track.get(_PRIVATE, (0, 0)))][:1024]
    settings = {_PRIVATE_KINDS[codec]: private} if codec in _PRIVATE_KINDS and private else {}
    turns = 0
    if _PROJECTION in video and (roll := _within(data, *video[_PROJECTION]).get(_ROLL)):
        turns = _float_turns(data[slice(*roll)])
    height, width = _number(data, video.get(_HEIGHT)), _number(data, video.get(_WIDTH))
    return _checked(VideoHeader(height, width, turns, None, _pixel_bytes(codec, settings)))


def _float_turns(value: bytes) -> int:
    (degrees,) = struct.unpack(">f" if len(value) == 4 else ">d", value)
    return round(degrees / 90) % 4 if math.isfinite(degrees) else 0


def _number(data: bytes | mmap, place: tuple[int, int] | None) -> int:
    return int.from_bytes(data[place[0] : min(place[1], place[0] + 8)]) if place else 0


def _checked(header: VideoHeader) -> VideoHeader:
    if not (0 < header.height < 1 << 31 and 0 < header.width < 1 << 31):
        raise ValueError(f"a video of {header.width}x{header.height} pixels")
    return header
