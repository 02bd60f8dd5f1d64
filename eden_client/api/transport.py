"""How frames travel, always lossless: in shared memory, or in HTTP bodies as .npy arrays or PNG pictures."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from urllib3 import encode_multipart_formdata

from eden_client.api.errors import ServerFailed
from media import NPY_MAGIC, Frame, MediaError, decode_image, decode_npy, encode_image, encode_npy

BodyFormat = Literal["npy", "png"]
Transport = Literal["auto", "region", "npy", "png"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
"""auto: region where client and server share memory, else npy."""

ANY = 1 << 62
"""No limit: the answer is from a server that the user trusts, to a request of known size."""


@dataclass(frozen=True)
class Request:
    """A body and what it is."""

    body: bytes
    content_type: str


def pack_fields(frames: Sequence[Frame], transport: BodyFormat) -> dict[str, bytes]:
    """Frames [H, W, 3] of one size as a request's fields: `data` for all, or `frame0`, `frame1`, ..."""
    if transport == "npy":
        return {"data": encode_npy(np.stack(frames))}
    return {f"frame{i}": encode_image(frame, "png") for i, frame in enumerate(frames)}


def pack(frames: Sequence[Frame], transport: BodyFormat) -> Request:
    """Frames [H, W, 3] of one size as an HTTP body."""
    fields = pack_fields(frames, transport)
    if transport == "npy":
        return Request(fields["data"], "application/octet-stream")
    files = {name: (f"{name}.png", picture, "image/png") for name, picture in fields.items()}
    body, content_type = encode_multipart_formdata(files)
    return Request(body, content_type)


def accepted(transport: BodyFormat, count: int) -> str:
    """The format to ask for where `count` frames come back: an answer with several pictures is a zip of PNGs."""
    return "npy" if transport == "npy" else ("png" if count == 1 else "zip")


def unpack(body: bytes, expected: int, size: tuple[int, int]) -> list[Frame]:
    """The frames of an answer, whichever format it came in.

    Raises ServerFailed: damaged, or not `expected` frames of `size` (H, W).
    """
    try:
        frames = _read(body)
    except (MediaError, zipfile.BadZipFile) as error:
        raise ServerFailed(f"the answer cannot be read, is this an EDEN server? ({error})") from error
    if len(frames) != expected or any(frame.shape[:2] != size for frame in frames):
        shapes = {frame.shape[:2] for frame in frames}
        raise ServerFailed(f"the answer holds {len(frames)} frames of {shapes}, not {expected} of {size}")
    return frames


def _read(body: bytes) -> list[Frame]:
    if body.startswith(NPY_MAGIC):
        return list(decode_npy(body, max_pixels=ANY, max_frames=ANY))
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return [decode_image(archive.read(name), max_pixels=ANY) for name in sorted(archive.namelist())]
    return [decode_image(body, max_pixels=ANY)]
