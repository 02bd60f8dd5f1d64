"""Finds, from its header alone, the size of a picture, a .npy or a video, and the memory that decoding it needs."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from media.arrays import NPY_MAGIC, npy_shape
from media.errors import MediaError
from media.frame_layout import FrameLayout, frame_size
from media.headers import Header
from media.images import readable_header
from media.video_headers import VideoHeader, is_video
from media.video_reader import coded_pixels, readable_video_header, threads

Kind = Literal["picture", "npy", "video"]

FRAME_BYTES_PER_PIXEL = 3
"""Bytes per pixel of a decoded frame: uint8 RGB."""

DECODE_BYTES_PER_PIXEL = {
    "png": FRAME_BYTES_PER_PIXEL + 4,
    "png of one channel": FRAME_BYTES_PER_PIXEL + 1,
    "png of 16 bits": FRAME_BYTES_PER_PIXEL + 8 + 4,
    "jpeg": FRAME_BYTES_PER_PIXEL + 4 + 8,
    "webp": 4 + 4 + 8,
}
"""The most bytes per pixel that decoding holds at once, by kind of picture, including the frame that is returned.

png, jpeg   the frame, and Pillow's pixels: 4 bytes each, 1 in grey or with a palette
16 bits     FFmpeg's pixels, up to four channels of 2 bytes, and Pillow's, whose memory malloc may keep
jpeg        if progressive, also all DCT coefficients, 2 bytes per sample of up to 4 channels
webp        two canvases of the decoder, its result, and Pillow's pixels, of 4 bytes each; the frame is made after these
"""

HELD_PICTURES = 20
"""Pictures that a video decoder may hold: 16 references (H.264, H.265), and others being decoded, shown and converted.

Each of its threads holds one more.
"""
PICTURE_TABLES_PER_PIXEL = 1
"""Bytes per pixel of motion vectors and other tables, for each picture that is held."""

_BESIDE = 8 << 20
"""Bytes that do not depend on the picture's size: a decoder's tables, a tile in conversion, malloc's rounding."""
_BESIDE_WEBP = 12 << 20
_BESIDE_VIDEO = 24 << 20
_SAMPLE = 64
"""Bytes of FFmpeg's index per sample of a video file."""
_COPIES = 3
"""Copies of the coded bytes: without metadata, as a packet, and in the decoder's buffer."""
_ROWS = 4
"""Rows of which PNG decoders hold copies, which matters where a row has millions of pixels."""


@dataclass(frozen=True)
class Peeked:
    """What a header states, which only decoding can confirm."""

    kind: Kind
    height: int
    """pixels of a frame, as decoded: upright"""
    width: int
    frames: int | None
    """1 for a picture; None: the video does not state it"""
    decode_bytes: int
    """The most bytes of memory that decoding needs, besides the data.

    This includes the frames of a picture or a .npy, but only one frame of a video, since these come one at a time: add
    `frame_bytes` for each frame that you keep.
    """

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame of a picture or a video, [height, width, 3]."""
        return FRAME_BYTES_PER_PIXEL * self.height * self.width


def peek(data: bytes, kinds: Collection[Kind] = ("picture", "npy", "video"), layout: FrameLayout = "rgb24") -> Peeked:
    """What the header of `data` states. Decodes no pixel, and allocates nothing that grows with what it states.

    kinds    the kinds that the caller accepts
    layout   of the frames in a .npy
    Raises MediaError: there are no bytes, it is none of `kinds`, or the header is damaged; the messages are those of
    `decode_image`, `decode_npy` and `open_video`. Limits are not checked.
    """
    if "npy" in kinds and data.startswith(NPY_MAGIC):
        shape = npy_shape(data, layout)
        return Peeked("npy", *frame_size(shape, layout), shape[0], math.prod(shape) + _BESIDE)  # one copy
    if "video" in kinds and ("picture" not in kinds or is_video(data)):
        video = readable_video_header(data)
        return Peeked("video", *video.size, video.frames, _video_bytes(video, len(data)))
    if "picture" in kinds:
        picture = readable_header(data)
        assert picture is not None  # None only for formats that were not asked for
        return Peeked("picture", *picture.size, 1, _picture_bytes(picture, len(data)))
    raise MediaError("not a .npy array, or one with a damaged header")


def _picture_bytes(header: Header, length: int) -> int:
    pixels = header.height * header.width
    if header.format == "JPEG":
        per_pixel = FRAME_BYTES_PER_PIXEL + (1 if header.channels == 1 else 4) + header.coefficients
    elif header.format == "WEBP":
        per_pixel = DECODE_BYTES_PER_PIXEL["webp"]
    elif header.depth == 16:
        per_pixel = DECODE_BYTES_PER_PIXEL["png of 16 bits"]
    else:
        per_pixel = DECODE_BYTES_PER_PIXEL["png of one channel" if header.channels == 1 else "png"]
    rows = _ROWS * 8 * header.width if header.format == "PNG" else 0
    beside = _BESIDE_WEBP if header.format == "WEBP" else _BESIDE
    return int(per_pixel * pixels) + rows + _COPIES * length + beside


def _video_bytes(header: VideoHeader, length: int) -> int:
    pixels = coded_pixels(header)
    held = HELD_PICTURES + threads(header.height * header.width)
    converted = 3 * FRAME_BYTES_PER_PIXEL  # the frame as FFmpeg makes it, without the padding of its rows, and upright
    per_pixel = held * (header.pixel_bytes + PICTURE_TABLES_PER_PIXEL) + converted
    return int(per_pixel * pixels) + _SAMPLE * header.samples + _COPIES * length + _BESIDE_VIDEO
