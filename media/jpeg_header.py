"""Finds by their markers, without decoding, the JPEGs that every decoder reads alike (ITU-T T.81).

A decoder on a GPU ignores EXIF orientation, guesses colour spaces in its own way, and may fill the rest of a truncated
picture without an error. So it only gets plain JPEGs: baseline, 8 bits, Y'CbCr in one scan, upright, complete.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Flags = np.ndarray[Any, np.dtype[np.bool_]]

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_SOF0, _DHT, _DQT, _DRI, _RST0 = 0xC0, 0xC4, 0xDB, 0xDD, 0xD0
_APP1, _APP2, _APP14 = 0xE1, 0xE2, 0xEE
_FRAMES = {
    0xC1: "extended sequential", 0xC2: "progressive", 0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical",
    0xC7: "hierarchical", 0xC9: "arithmetic coding", 0xCA: "arithmetic coding", 0xCB: "arithmetic coding",
    0xCD: "arithmetic coding", 0xCE: "arithmetic coding", 0xCF: "arithmetic coding",
}  # fmt: skip
_WITHOUT_LENGTH = {0x01, *range(_RST0, _SOS)}

_MOST_SEGMENTS = 512
"""The most segments before the scan, since each costs time. A colour profile takes 255 at most."""
_LUMA = {(1, 1), (2, 1), (2, 2)}
"""Luma samples across and down per chroma sample: 4:4:4, 4:2:2, 4:2:0."""
_Y_CB_CR = b"\x01\x02\x03"
"""JFIF's identifiers of the components. From others, libjpeg guesses the colours: `RGB`, for example, means RGB."""
_ORIENTATION = 0x0112
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
"""Finds the orientation in XMP as Pillow does."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """A plain JPEG: its size in pixels, its luma's sampling factors, and where it ends."""

    width: int
    height: int
    sampling: tuple[int, int]
    """Luma's sampling factors across and down; those of chroma are 1, 1. (2, 2) is 4:2:0."""
    end: int
    """The offset just after its EOI marker. What follows is not part of it."""


class _NotPlain(Exception):
    """The JPEG is not plain. The message says why."""


def read_jpeg_header(data: bytes) -> JpegHeader | str:
    """The header of a plain JPEG, or a few words on why `data` is none. Never raises.

    Plain: baseline, 8 bits, three components Y'CbCr in one interleaved scan, 4:4:4, 4:2:2 or 4:2:0, upright, with all
    tables that it names, all restart markers that it announces, and its end. The scan is not decoded, so damage inside
    it is not found here.
    """
    try:
        return _read(data)
    except _NotPlain as reason:
        return str(reason)


def _read(data: bytes) -> JpegHeader:
    if data[:2] != bytes((0xFF, _SOI)):
        raise _NotPlain("not a JPEG")
    at = 2
    frame: _Frame | None = None
    quantisers: set[int] = set()
    codes: set[tuple[int, int]] = set()
    interval = exif_blocks = 0
    for _ in range(_MOST_SEGMENTS):
        marker, body, at = _segment(data, at)
        if marker == _SOS:
            if frame is None:
                raise _NotPlain("a scan before its frame")
            if not quantisers.issuperset(frame.quantisers):
                raise _NotPlain("a quantisation table is missing")
            _check_scan(body, codes)
            return JpegHeader(frame.width, frame.height, frame.sampling, _end(data, at, frame, interval))
        if marker == _SOF0:
            if frame is not None:
                raise _NotPlain("two frames")
            frame = _frame(body)
        elif marker in _FRAMES:
            raise _NotPlain(_FRAMES[marker])
        elif marker == _DQT:
            quantisers |= _quantisers(body)
        elif marker == _DHT:
            codes |= _codes(body)
        elif marker == _DRI:
            if len(body) != 2:
                raise _NotPlain("a damaged restart interval")
            interval = int.from_bytes(body)
        elif marker == _APP1 and body.startswith(b"Exif\0\0"):
            exif_blocks += 1
            if exif_blocks > 1 or not _is_upright(body[6:]):
                raise _NotPlain("an EXIF orientation, or EXIF that cannot be read")
        elif marker == _APP1 and body.startswith(_XMP):
            if any(value != b"1" for value in _XMP_ORIENTATION.findall(body)):
                raise _NotPlain("an orientation in XMP")
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            raise _NotPlain("several pictures")
        elif marker == _APP14 and body.startswith(b"Adobe") and body[11:12] != b"\x01":
            raise _NotPlain("colours other than Y'CbCr, by Adobe's marker")
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            raise _NotPlain(f"marker {marker:#04x}")
    raise _NotPlain("too many segments")


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """The marker at offset `at`, the content of its segment, and the offset of the next one."""
    if len(data) < at + 4:
        raise _NotPlain("cut short")
    prefix, marker, length = struct.unpack_from(">BBH", data, at)
    if prefix != 0xFF or marker in (0x00, 0xFF) or marker in _WITHOUT_LENGTH or length < 2:
        raise _NotPlain("a damaged header")
    end = at + 2 + length
    if len(data) < end:
        raise _NotPlain("cut short")
    return marker, data[at + 4 : end], end


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    sampling: tuple[int, int]
    quantisers: bytes

    @property
    def units(self) -> int:
        """Number of MCUs (groups of blocks that are coded together), including those across the edges."""
        across, down = self.sampling
        return -(-self.width // (8 * across)) * -(-self.height // (8 * down))

    @property
    def blocks(self) -> int:
        across, down = self.sampling
        return self.units * (across * down + 2)


def _frame(body: bytes) -> _Frame:
    if len(body) < 6:
        raise _NotPlain("a damaged frame header")
    depth, height, width, components = struct.unpack_from(">BHHB", body)
    if depth != 8:
        raise _NotPlain(f"{depth} bits per sample")
    if components != 3:
        raise _NotPlain(f"components: {components}")
    if len(body) != 15 or not width or not height:
        raise _NotPlain("a damaged frame header")
    if body[6::3] != _Y_CB_CR:
        raise _NotPlain("colours other than Y'CbCr, by the components' identifiers")
    luma, *chroma = ((factors >> 4, factors & 15) for factors in body[7::3])
    if luma not in _LUMA or chroma != [(1, 1), (1, 1)]:
        raise _NotPlain(f"sampling {body[7::3].hex(' ')}")
    return _Frame(width, height, luma, body[8::3])


def _quantisers(body: bytes) -> set[int]:
    """The numbers of the quantisation tables, which hold 64 bytes each, none of them 0."""
    tables = range(0, len(body), 65)
    if not body or len(body) % 65 or any(body[at] > 3 for at in tables):
        raise _NotPlain("a quantisation table that is damaged, or of 16 bits")
    if any(0 in body[at + 1 : at + 65] for at in tables):
        raise _NotPlain("a quantisation table with a zero")
    return {body[at] for at in tables}


def _codes(body: bytes) -> set[tuple[int, int]]:
    """The Huffman tables' classes (0 for DC, 1 for AC) and numbers."""
    found: set[tuple[int, int]] = set()
    at = 0
    while at < len(body):
        kind, number = body[at] >> 4, body[at] & 15
        lengths = body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(lengths)]
        if kind > 1 or number > 1 or len(lengths) < 16 or len(symbols) < sum(lengths) or not symbols:
            raise _NotPlain("a damaged Huffman table")
        if kind == 0 and max(symbols) > 11:
            raise _NotPlain("a Huffman table of more than 8 bits per sample")
        if not _fits(lengths):
            raise _NotPlain("a Huffman table of too many codes")
        found.add((kind, number))
        at += 17 + len(symbols)
    return found


def _fits(lengths: bytes) -> bool:
    """Whether a Huffman table's codes fit into their lengths; no code may be all ones (T.81, annex C)."""
    code = 0
    for bits, count in enumerate(lengths, 1):
        code = 2 * code + count
        if count and code >= 1 << bits:
            return False
    return True


def _check_scan(body: bytes, codes: set[tuple[int, int]]) -> None:
    """Check that a scan holds all components and all 64 coefficients at full precision, with tables that exist."""
    if len(body) != 10 or body[0] != 3 or body[1:7:2] != _Y_CB_CR:
        raise _NotPlain("several scans")
    if body[7:] != b"\x00\x3f\x00":
        raise _NotPlain("a scan of some coefficients")
    if any((0, used >> 4) not in codes or (1, used & 15) not in codes for used in body[2:7:2]):
        raise _NotPlain("a Huffman table is missing")


def _end(data: bytes, start: int, frame: _Frame, interval: int) -> int:
    """The offset at which the picture ends whose coded blocks begin at `start`.

    In coded blocks, 0xFF is followed by 0x00 or is part of a restart marker. The first other marker must be EOI.
    """
    if len(data) < start + 2:
        raise _NotPlain("cut short")
    coded = np.frombuffer(data, np.uint8, offset=start)
    prefixes, markers = coded[:-1], coded[1:]
    found = (prefixes == 0xFF) & (markers != 0)
    ends = found & ((markers & 0xF8) != _RST0) if interval else found
    length = int(ends.argmax())
    if not ends[length]:
        raise _NotPlain("cut short")
    if markers[length] != _EOI:
        raise _NotPlain(f"marker {int(markers[length]):#04x} in the scan or after it")
    if 8 * length < 2 * frame.blocks:  # a block takes at least a bit for DC and one for AC
        raise _NotPlain("a scan too short for its size")
    if interval:
        _check_restarts(markers[:length], found[:length], -(-frame.units // interval) - 1)
    return start + length + 2


def _check_restarts(markers: _Bytes, found: _Flags, expected: int) -> None:
    """Check that there are as many restart markers as expected, numbered 0 to 7 in turn: else a part is lost."""
    if np.count_nonzero(found) != expected or ((markers[found] & 7) != np.arange(expected) % 8).any():
        raise _NotPlain("restart markers that do not fit")


def _is_upright(tiff: bytes) -> bool:
    """Whether the first directory of an EXIF block states upright, or no orientation. False: it is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return False
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if len(tiff) < start + 2:
        return False
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    if len(tiff) < start + 2 + 12 * count:
        return False
    entries = struct.iter_unpack(f"{order}HHIHH", tiff[start + 2 : start + 2 + 12 * count])
    return all((kind, values, value) == (3, 1, 1) for tag, kind, values, value, _ in entries if tag == _ORIENTATION)
