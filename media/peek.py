"""Size of a picture, a .npy or a video, and how much memory decoding it needs, from its header alone."""

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
"""What is handed over: uint8 RGB."""

DECODE_BYTES_PER_PIXEL = {
    "png": FRAME_BYTES_PER_PIXEL + 4,
    "png of one channel": FRAME_BYTES_PER_PIXEL + 1,
    "png of 16 bits": FRAME_BYTES_PER_PIXEL + 8 + 4,
    "jpeg": FRAME_BYTES_PER_PIXEL + 4 + 8,
    "webp": 4 + 4 + 8,
}
"""The most bytes that decoding holds at once for each pixel, by kind of picture, the frame handed over included.

png, jpeg   the frame, and Pillow's pixels: 4 bytes each, 1 in grey or with a palette
16 bits     FFmpeg's pixels, up to four channels of 2 bytes, and Pillow's, of which malloc may keep the memory
jpeg        all DCT coefficients too where it is progressive, 2 bytes for each sample of up to 4 channels
webp        two canvases of the decoder, its answer, and Pillow's pixels, each of 4 bytes; the frame comes after
"""

HELD_PICTURES = 20
"""Pictures that a video decoder may hold: 16 references (H.264, H.265), one each that is decoded, shown and converted.

Each of its threads holds one more.
"""
PICTURE_TABLES_PER_PIXEL = 1
"""Bytes of motion vectors and the like that go with each picture that is held."""

_BESIDE = 8 << 20
"""Bytes of what does not grow with the picture: a decoder's tables, a tile in conversion, malloc's rounding."""
_BESIDE_WEBP = 12 << 20
_BESIDE_VIDEO = 24 << 20
_SAMPLE = 64
"""Bytes of FFmpeg's index for each sample of a video file."""
_COPIES = 3
"""Of the coded bytes: without their metadata, as a packet, and as the decoder buffers them."""
_ROWS = 4
"""Of which PNG decoders hold copies: it is with rows of millions of pixels that this counts."""


@dataclass(frozen=True)
class Peeked:
    """What a header states. Only decoding shows whether it is true."""

    kind: Kind
    height: int
    """pixels of a frame, as decoded: upright"""
    width: int
    frames: int | None
    """1 of a picture; None where a video does not state it"""
    decode_bytes: int
    """The most that decoding needs, beside the bytes given.

    Of a picture or a .npy with the frames handed over; of a video with one frame, since they come one at a time: who
    keeps them adds `frame_bytes` for each.
    """

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame of a picture or a video, [height, width, 3]."""
        return FRAME_BYTES_PER_PIXEL * self.height * self.width


def peek(data: bytes, kinds: Collection[Kind] = ("picture", "npy", "video"), layout: FrameLayout = "rgb24") -> Peeked:
    """What `data` holds, from its header: no pixel is decoded, nothing allocated that grows with what it states.

    `kinds` are those that the caller takes; what is none of them is called unreadable, as decoding calls it. `layout`:
    of the frames in a .npy.
    Raises MediaError: no bytes, none of `kinds`, or a damaged header, with the message of `decode_image`, `decode_npy`
    or `open_video`. Limits are not looked at.
    """
    if "npy" in kinds and data.startswith(NPY_MAGIC):
        shape = npy_shape(data, layout)
        return Peeked("npy", *frame_size(shape, layout), shape[0], math.prod(shape) + _BESIDE)  # one copy
    if "video" in kinds and ("picture" not in kinds or is_video(data)):
        video = readable_video_header(data)
        return Peeked("video", *video.size, video.frames, _video_bytes(video, len(data)))
    if "picture" in kinds:
        picture = readable_header(data)
        assert picture is not None  # None is for formats that are not asked for
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
    converted = 3 * FRAME_BYTES_PER_PIXEL  # as FFmpeg makes it, without the padding of its rows, upright
    per_pixel = held * (header.pixel_bytes + PICTURE_TABLES_PER_PIXEL) + converted
    return int(per_pixel * pixels) + _SAMPLE * header.samples + _COPIES * length + _BESIDE_VIDEO
