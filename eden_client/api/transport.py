"""How frames travel, always lossless: in shared memory, or in HTTP bodies as .npy arrays or PNGs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from urllib3 import encode_multipart_formdata

from eden_client.api.errors import ServerFailed
from eden_client.api.yuv import YuvFormat
from media import NPY_MAGIC, Frame, MediaError, decode_image, decode_npy, encode_image, encode_npy
from media.frame_layout import FrameLayout

BodyFormat = Literal["npy", "png"]
Transport = Literal["auto", "region", "npy", "png"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
"""auto: region where client and server share memory, else npy."""

ANY = 1 << 62
"""No limit on pixels: the answer is from a server that the user trusts, to a request of known size."""


@dataclass(frozen=True)
class Request:
    """A body, and the headers that say what it is."""

    body: bytes
    headers: dict[str, str]


def layout_of(shape: Sequence[int]) -> FrameLayout:
    """The layout of a frame with this shape: RGB [H, W, 3], or planes [H*3/2, W]."""
    return "i420" if len(shape) == 2 else "rgb24"


def pack_fields(frames: Sequence[Frame], transport: BodyFormat) -> dict[str, bytes]:
    """Frames of one size as a request's fields: `data` for all, or `frame0`, `frame1`, ..."""
    if transport == "npy":
        return {"data": encode_npy(np.stack(frames))}
    return {f"frame{i}": encode_image(frame, "png") for i, frame in enumerate(frames)}


def pack(frames: Sequence[Frame], transport: BodyFormat, yuv: YuvFormat | None = None) -> Request:
    """Frames of one size, RGB or planes of the format `yuv`, as an HTTP body. Planes need the transport npy."""
    fields = pack_fields(frames, transport)
    if transport == "npy":
        headers = {"Content-Type": "application/octet-stream"}
        if yuv is not None:
            headers |= {"X-Eden-Layout": "i420", "X-Eden-Matrix": yuv.matrix, "X-Eden-Range": yuv.range}
        return Request(fields["data"], headers)
    files = {name: (f"{name}.png", picture, "image/png") for name, picture in fields.items()}
    body, content_type = encode_multipart_formdata(files)
    return Request(body, {"Content-Type": content_type})


def accepted(transport: BodyFormat, count: int) -> str:
    """The format to ask for where `count` frames come back: an answer with several pictures is a zip of PNGs."""
    return "npy" if transport == "npy" else ("png" if count == 1 else "zip")


def unpack(body: bytes, expected: int, shape: tuple[int, ...]) -> list[Frame]:
    """The frames of an answer in any of the formats.

    Raises ServerFailed: damaged, or not `expected` frames of `shape`, [H, W, 3] or [H*3/2, W].
    """
    try:
        frames = _read(body, layout_of(shape))
    except (MediaError, zipfile.BadZipFile) as error:
        raise ServerFailed(f"the answer cannot be read: is this an EDEN server? ({error})") from error
    if len(frames) != expected or any(frame.shape != shape for frame in frames):
        shapes = {frame.shape for frame in frames}
        raise ServerFailed(f"the answer holds {len(frames)} frames of {shapes}, not {expected} of {shape}")
    return frames


def _read(body: bytes, layout: FrameLayout) -> list[Frame]:
    if body.startswith(NPY_MAGIC):
        return list(decode_npy(body, max_pixels=ANY, max_frames=ANY, layout=layout))
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return [decode_image(archive.read(name), max_pixels=ANY) for name in sorted(archive.namelist())]
    return [decode_image(body, max_pixels=ANY)]
