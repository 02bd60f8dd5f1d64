"""Frames as NumPy .npy files, and picture files bundled into a zip."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from media.errors import MediaError, shown
from media.frame_layout import SHAPES, FrameLayout, frame_size
from media.images import Frame

NPY_MAGIC = b"\x93NUMPY"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_LONGEST_HEADER = 10_000
"""The most bytes of a header; NumPy has the same limit."""
_NUMBER = r"(?:0|[1-9][0-9]{0,17})L?"  # Python 2 wrote an L
_ITEM = re.compile(
    r"""\s*(?P<quote>['"])(?P<key>\w+)(?P=quote)\s*:\s*"""
    r"""(?:(?P<mark>['"])(?P<descr>[|<>=]?[biufcmMOSUV][0-9]{0,9}(?:\[[0-9]{0,9}\w{1,2}\])?)(?P=mark)"""
    r"""|(?P<fortran_order>True|False)"""
    rf"""|\(\s*(?P<shape>(?:{_NUMBER}\s*,|{_NUMBER}(?:\s*,\s*{_NUMBER})+\s*,?)?)\s*\))\s*(?:,|$)""",
    re.ASCII,
)
_RECORDS = re.compile(r"""['"]descr['"]\s*:\s*\[""")


def decode_npy(
    data: bytes,
    *,
    max_pixels: int,
    max_frames: int,
    max_clip_pixels: int | None = None,
    layout: FrameLayout = "rgb24",
) -> Frame:
    """The frames in a .npy file, copied once: uint8, of the shape that their layout has.

    max_pixels        of one frame
    max_clip_pixels   of all frames together; None: as many as `max_frames` and `max_pixels` allow
    Nothing is allocated before the header has been checked against the bytes that are there; objects are never loaded.
    Raises MediaError: not a .npy, another shape or type, too large, or not as many bytes as the header says.
    """
    shape, fortran_order, start = _frames_header(data, layout)
    if shape[0] > max_frames:
        raise MediaError(f"{shape[0]} frames in one .npy; {max_frames} are allowed")
    height, width = frame_size(shape, layout)
    pixels = height * width
    if pixels > max_pixels:
        raise MediaError(f"frames of {width}x{height} = {pixels} pixels; {max_pixels} are allowed")
    if max_clip_pixels is not None and shape[0] * pixels > max_clip_pixels:
        raise MediaError(
            f"{shape[0]} frames of {width}x{height} = {shape[0] * pixels} pixels in one .npy; "
            f"{max_clip_pixels} are allowed"
        )
    count = _checked_length(data, shape, start)
    flat = np.frombuffer(data, np.uint8, count, start)
    frames = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    return np.array(frames, order="C")  # a copy: the buffer is read-only, and torch warns on that


def npy_shape(data: bytes, layout: FrameLayout = "rgb24") -> tuple[int, ...]:
    """The shape of a .npy of frames, by its header and its length.

    Raises MediaError as `decode_npy` does, but for limits.
    """
    shape, _, start = _frames_header(data, layout)
    _checked_length(data, shape, start)
    return shape


def _frames_header(data: bytes, layout: FrameLayout) -> tuple[tuple[int, ...], bool, int]:
    """Shape, whether in Fortran order, offset of the frames. Raises MediaError: not uint8, or another shape."""
    try:
        shape, fortran_order, dtype, start = read_header(data)
    except MediaError:
        raise
    except (ValueError, TypeError) as error:
        raise MediaError("not a .npy array, or one with a damaged header") from error
    if dtype != np.uint8:
        raise MediaError(f"a .npy must hold uint8 {SHAPES[layout]}, not {dtype} {shown(list(shape))}")
    frame_size(shape, layout)
    return shape, fortran_order, start


def _checked_length(data: bytes, shape: tuple[int, ...], start: int) -> int:
    """The bytes of an array. Raises MediaError: there are more or fewer of them after the header."""
    count = math.prod(shape)
    if len(data) - start != count:
        raise MediaError(
            f"a .npy of {shown(list(shape))} needs {count} bytes after its header, {len(data) - start} are there"
        )
    return count


def read_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """The header of a .npy (version 1.0, 2.0, 3.0): shape, whether in Fortran order, type, and offset of the array.

    Used instead of NumPy's own reader, which evaluates the header as Python: in threads of Python 3.11, that sometimes
    fails on a correct header (python/cpython#106905). Raises ValueError or TypeError: it is damaged; MediaError: it is
    an array of records.
    """
    if data[: len(NPY_MAGIC)] != NPY_MAGIC:
        raise ValueError("not a .npy file")
    at = len(NPY_MAGIC) + 2
    version = tuple(data[at - 2 : at])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"a .npy of version {version}")
    start = at + (2 if version == (1, 0) else 4)
    length = int.from_bytes(data[at:start], "little")
    if length > _LONGEST_HEADER or len(data) < start + length:
        raise ValueError(f"a header of {length} bytes")
    text = data[start : start + length].decode("ascii").strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("a header without its braces")
    if _RECORDS.search(text):
        raise MediaError("a .npy must hold uint8, not records")
    items = _items(text[1:-1].strip())
    if items.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("a header without its items")
    shape = tuple(int(side.strip().rstrip("L")) for side in items["shape"].split(",") if side.strip())
    return shape, items["fortran_order"] == "True", np.dtype(items["descr"]), start + length


def _items(text: str) -> dict[str, str]:
    """The keys of a header, with the text of their values."""
    items: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None or match["key"] in items or match.groupdict().get(match["key"]) is None:
            raise ValueError("a header that is not as NumPy writes it")
        items[match["key"]] = match[match["key"]]
        at = match.end()
    return items


def encode_npy(frames: Frame) -> bytes:
    """`frames`, in any layout, as a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(frames), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def zip_images(pictures: Iterable[bytes], extension: str) -> bytes:
    """Picture files as frame_000000.EXT, frame_000001.EXT, ... in a zip. Equal pictures give equal bytes: no clock."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for index, picture in enumerate(pictures):
            archive.writestr(zipfile.ZipInfo(f"frame_{index:06d}.{extension}", _ZIP_EPOCH), picture)
    return buffer.getvalue()
