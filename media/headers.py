"""Reads a picture's header: its size as shown, and what its decoder will hold in memory.

It is read here, byte by byte, because Pillow allocates a WebP's canvas when it opens the file, and knows the
orientation of a PNG only after its pixels. Nothing here copies pixels, and no loop depends on the file for its end.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
LARGEST_SIDE = 2**31 - 1
"""The most pixels per side that PNG allows; JPEG allows 65535, WebP 16384."""
_MOST_CHUNKS = 1 << 16
_MOST_SEGMENTS = 1 << 10
_MOST_SCANS = 200
"""The most scans of a progressive JPEG; about ten are usual. Each costs a pass over the picture, even an empty one."""
_MOST_ENTRIES = 512
_LONGEST_TEXT = 1 << 16
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_KEPT = (b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_FRONT_END = 33
"""The end of a PNG's signature and its first chunk, IHDR, in bytes."""
_CHUNK = struct.Struct(">I4s")
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_SOS, _APP1 = 0xDA, 0xE1
_BARE = frozenset(range(0xD0, 0xDA)) | {0x01}
_JPEG_DROPPED = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}
"""JPEG's markers of EXIF, colour profiles and comments; without Adobe's APP14, which states the coding of colours."""
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_INTEGERS = {3: 2, 4: 4}
"""Bytes per value of TIFF's types SHORT and LONG."""


@dataclass(frozen=True)
class Header:
    """What a picture's header states."""

    format: str
    """Pillow's name of the format: PNG, JPEG or WEBP"""
    height: int
    """pixels, as stored"""
    width: int
    orientation: int = 1
    """EXIF's orientation, 1 to 8; 5 to 8 exchange height and width"""
    depth: int = 8
    """bits per channel"""
    channels: int = 3
    """as stored: 1 with a palette"""
    coefficients: float = 0.0
    """bytes per pixel of all DCT coefficients, which a decoder holds for a JPEG of several scans; 0 for others"""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes) -> Header | None:
    """The header of a PNG, JPEG or WebP; None: it is another format. Raises ValueError: it is damaged."""
    if data.startswith(PNG_MAGIC):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def without_metadata(data: bytes, header: Header) -> bytes:
    """The same picture without EXIF, texts and colour profiles. Raises ValueError: it is damaged."""
    if header.format == "PNG":
        kept = [data[at:end] for kind, at, end in _chunks(data) if kind in _PNG_KEPT]
        return b"".join([data[:_PNG_FRONT_END], *kept])
    if header.format == "JPEG":
        kept = [data[at:end] for marker, at, end in _segments(data) if marker not in _JPEG_DROPPED]
        return b"".join([data[:2], *kept])
    return data


def _png(data: bytes) -> Header:
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < _PNG_FRONT_END:
        raise ValueError("a PNG without its header")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    depth, colours = data[24], data[25]
    if depth not in _DEPTHS.get(colours, ()) or not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise ValueError("a PNG with a damaged header")
    return Header("PNG", height, width, _png_orientation(data), depth, _CHANNELS[colours])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """A PNG's chunks after its header, up to IEND, each as (kind, start, end); the last may be truncated."""
    at = _PNG_FRONT_END
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, kind = _CHUNK.unpack_from(data, at)
        end = at + 12 + length
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ValueError(f"a PNG of more than {_MOST_CHUNKS} chunks")


def _png_orientation(data: bytes) -> int:
    """The orientation by EXIF, by ImageMagick's form of EXIF, or by XMP; each may come before or after the pixels."""
    exif = raw = xmp = b""
    for kind, at, end in _chunks(data):
        if kind == b"IDAT":
            continue
        body = slice(at + 8, min(end - 4, at + 8 + _LONGEST_TEXT))
        if kind == b"eXIf":
            exif = exif or data[body]
        elif kind in (b"tEXt", b"zTXt") and data.startswith(b"Raw profile type exif\0", at + 8):
            raw = raw or _text(data[body], b"Raw profile type exif\0", kind == b"zTXt")
        elif kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0", at + 8):
            xmp = xmp or data[body]
    if not exif and raw:
        try:
            exif = bytes.fromhex("".join(raw.decode("latin-1").split("\n")[3:]))
        except ValueError:
            exif = b""
    return _orientation(exif.removeprefix(_EXIF), xmp)


def _text(body: bytes, name: bytes, packed: bool) -> bytes:
    body = body.removeprefix(name)
    if not packed:
        return body
    try:
        return zlib.decompressobj().decompress(body[1:], _LONGEST_TEXT)
    except zlib.error:
        return b""


def _jpeg(data: bytes) -> Header:
    frame, exif, xmp = b"", b"", b""
    kind = scanned = 0
    for marker, at, end in _segments(data):
        if marker in _SOF:
            frame, kind = data[at + 4 : end], marker
        elif marker == _SOS:
            scanned = int.from_bytes(data[at + 4 : at + 5])
        elif marker == _APP1 and data.startswith(_EXIF, at + 4):
            exif = exif or data[at + 4 + len(_EXIF) : end]
        elif marker == _APP1 and data.startswith(_XMP, at + 4):
            xmp = xmp or data[at + 4 + len(_XMP) : end]
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise ValueError("a JPEG without a frame header")
    height, width, channels = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    factors = [(part >> 4) * (part & 15) for part in frame[7 : 6 + 3 * channels : 3]]
    if not (height and width and factors and all(factors)):
        raise ValueError("a JPEG with a damaged header")
    coefficients = 0.0
    if kind not in _SEQUENTIAL or scanned < channels:
        if data.count(b"\xff\xda") > _MOST_SCANS:
            raise ValueError(f"a JPEG of more than {_MOST_SCANS} scans")
        coefficients = 2 * sum(factors) / max(factors)
    return Header("JPEG", height, width, _orientation(exif, xmp), frame[0], channels, coefficients)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """A JPEG's segments, each as (marker, start, end). The last one is its first scan, with everything after it."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        match = _MARKER.search(data, at)
        if match is None:
            return
        marker, start = match[0][1], match.start()
        if marker in _BARE:
            at = match.end()
            continue
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
        if marker == _SOS:
            yield marker, start, len(data)
            return
        yield marker, start, at
    raise ValueError(f"a JPEG of more than {_MOST_SEGMENTS} segments")


def _webp(data: bytes) -> Header:
    kind, exif, xmp = data[12:16], b"", b""
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        channels = 3
    elif kind == b"VP8L" and data[20:21] == b"\x2f" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        width, height, channels = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4
    elif kind == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        channels = 4
        if data[20] & 0x0C:
            exif, xmp = _webp_metadata(data)
    else:
        raise ValueError("a WebP with a damaged header")
    if not (width and height):
        raise ValueError("a WebP without pixels")
    return Header("WEBP", height, width, _orientation(exif.removeprefix(_EXIF), xmp), 8, channels)


def _webp_metadata(data: bytes) -> tuple[bytes, bytes]:
    exif, xmp, at = b"", b"", 12
    for _ in range(_MOST_CHUNKS):
        kind = data[at : at + 4]
        if len(kind) < 4:
            return exif, xmp
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + min(length, _LONGEST_TEXT)] if kind in (b"EXIF", b"XMP ") else b""
        if kind == b"EXIF":
            exif = exif or body
        elif kind == b"XMP ":
            xmp = xmp or body
        at += 8 + length + length % 2
    raise ValueError(f"a WebP of more than {_MOST_CHUNKS} chunks")


def _orientation(exif: bytes, xmp: bytes) -> int:
    """The orientation, 1 to 8, by the first directory of EXIF, else by XMP; 1 (upright) where neither is readable."""
    value = _exif_orientation(exif)
    if value is None and (match := _XMP_ORIENTATION.search(xmp)):
        value = int(match[1])
    return value if value is not None and 1 <= value <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    if exif[:2] not in (b"II", b"MM"):
        return None
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    at = int.from_bytes(exif[4:8], order)
    count = min(int.from_bytes(exif[at : at + 2], order), _MOST_ENTRIES)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[entry : entry + 2], order) == 0x0112:
            width = _INTEGERS.get(int.from_bytes(exif[entry + 2 : entry + 4], order))
            return width and int.from_bytes(exif[entry + 8 : entry + 8 + width], order)
    return None
