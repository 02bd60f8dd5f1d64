"""Frames as NumPy .npy files, and picture files bundled into a zip."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterable

import numpy as np

from media.errors import MediaError
from media.images import Frame

NPY_MAGIC = b"\x93NUMPY"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def decode_npy(data: bytes, *, max_pixels: int, max_frames: int) -> Frame:
    """The frames uint8 [K, H, W, 3] in a .npy file. `max_pixels` is for one frame.

    Nothing is allocated before the header has been checked against the bytes that are there; objects are never loaded.
    Raises MediaError: not a .npy, another shape or type, too large, or not as many bytes as the header says.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = _HEADER_READERS[version](stream)
    except Exception as error:  # NumPy tokenises and evaluates the header: damage raises nearly anything
        raise MediaError("not a .npy array, or one with a damaged header") from error
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
        raise MediaError(f"a .npy must hold uint8 [K, H, W, 3], not {dtype} {list(shape)}")
    if shape[0] > max_frames:
        raise MediaError(f"{shape[0]} frames in one .npy; {max_frames} are allowed")
    if shape[1] * shape[2] > max_pixels:
        raise MediaError(f"frames of {shape[2]}x{shape[1]} = {shape[1] * shape[2]} pixels; {max_pixels} are allowed")
    start, count = stream.tell(), math.prod(shape)
    if len(data) - start != count:
        raise MediaError(f"a .npy of {list(shape)} needs {count} bytes after its header, {len(data) - start} are there")
    flat = np.frombuffer(data, np.uint8, count, start)
    frames = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    return np.array(frames, order="C")  # a copy: the buffer is read-only, and torch warns on that


def encode_npy(frames: Frame) -> bytes:
    """`frames` [K, H, W, 3] as a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(frames), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def zip_images(pictures: Iterable[bytes], extension: str) -> bytes:
    """Picture files as frame_000000.EXT, frame_000001.EXT, ... in a zip that depends on nothing else (no clock)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for index, picture in enumerate(pictures):
            archive.writestr(zipfile.ZipInfo(f"frame_{index:06d}.{extension}", _ZIP_EPOCH), picture)
    return buffer.getvalue()
