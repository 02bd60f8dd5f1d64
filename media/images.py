"""Pictures to frames and back. A frame is a uint8 array [H, W, 3], RGB."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import ExifTags, Image

from media.errors import MediaError
from media.png import encode_png

Frame = np.ndarray[Any, np.dtype[np.uint8]]
ImageFormat = Literal["png", "jpeg", "webp"]

READABLE = ("PNG", "JPEG", "WEBP")
"""Pillow's names of what `decode_image` reads by default; Pillow's other decoders stay out of a server's reach."""

DEFAULT_QUALITY = 90
"""For JPEG and WebP, where the caller names none."""

_PNG_DEPTH_AT = 24
_UPRIGHT: dict[int, Callable[[Frame], Frame]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def decode_image(data: bytes, *, max_pixels: int, formats: tuple[str, ...] = READABLE) -> Frame:
    """The picture in `data` as a frame [H, W, 3], upright by its EXIF orientation.

    Transparent pictures are composited on black, 16-bit ones scaled to the nearest of 256 levels, grey, palette and
    CMYK ones converted; of an animation the first frame is taken. Colour profiles are not applied.
    Raises MediaError: no bytes, not one of `formats`, damaged, or more than `max_pixels` (told from the header alone).
    """
    if not data:
        raise MediaError("an image of zero bytes")
    # On damaged files Pillow raises nearly anything (SyntaxError, struct.error, OverflowError, ...).
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("an image of more pixels than any reader here allows") from error
    except Exception as error:
        raise MediaError(f"not a readable image ({', '.join(formats)}), or a damaged one") from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise MediaError(f"an image of {width}x{height} = {width * height} pixels; {max_pixels} are allowed")
        try:
            image.load()
            pixels = _deep_png(data) if is_deep_png(data) else _rgb(image)
        except Exception as error:
            raise MediaError(f"a truncated or damaged {image.format} image of {width}x{height}") from error
        upright = _UPRIGHT.get(_orientation(image))
        return pixels if upright is None else np.ascontiguousarray(upright(pixels))


def encode_image(frame: Frame, format: ImageFormat, quality: int | None = None) -> bytes:
    """`frame` [H, W, 3] as a picture file. PNG is lossless and packed for speed; quality 1-100 is JPEG's and WebP's.

    Raises MediaError: an unknown format, a quality out of range or given for PNG, a frame of another shape or type,
    or one larger than the format can hold.
    """
    check_frame(frame)
    options = _encoder_options(format, quality)
    try:
        if format == "png":
            return encode_png(frame)
        with _buffer(format) as buffer:
            Image.fromarray(frame).save(buffer, format, **options)
            buffer.seek(0)
            return buffer.read()
    except (OSError, ValueError) as error:  # WebP ends at 16383 pixels a side, JPEG at 65500
        raise MediaError(f"a {format} cannot hold {frame.shape[1]}x{frame.shape[0]} pixels: {error}") from error


def _buffer(format: str) -> BinaryIO:
    """Where Pillow writes to: for JPEG a file in memory, since only then it lets other threads run while it packs."""
    if format == "jpeg" and hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("jpeg"), "w+b")
    return io.BytesIO()


def check_frame(frame: Frame) -> None:
    """MediaError unless `frame` is uint8 [H, W, 3] with at least one pixel."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise MediaError(f"a frame must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")


def _encoder_options(format: str, quality: int | None) -> dict[str, int]:
    if quality is not None and not 1 <= quality <= 100:
        raise MediaError(f"quality {quality}: it goes from 1 to 100")
    match format:
        case "png":
            if quality is not None:
                raise MediaError("quality is for jpeg and webp; png is lossless")
            return {}
        case "jpeg":
            return {"quality": quality or DEFAULT_QUALITY}
        case "webp":
            return {"quality": quality or DEFAULT_QUALITY, "method": 2}
        case _:
            raise MediaError(f"unknown image format {format!r}: png, jpeg and webp are known")


def _rgb(image: Image.Image) -> Frame:
    """A loaded picture of any 8-bit mode, on black where it is transparent."""
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.uint16)
        return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
    # a copy: a view of Pillow's pixels is read-only; `convert` would make one more, even of what is RGB already
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def is_deep_png(data: bytes) -> bool:
    """Whether these bytes are a PNG of 16 bits a channel."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[_PNG_DEPTH_AT : _PNG_DEPTH_AT + 1] == b"\x10"


def _deep_png(data: bytes) -> Frame:
    """A PNG of 16 bits a channel. Pillow keeps colour's high byte and clips grey; FFmpeg keeps all 16."""
    (picture,) = av.CodecContext.create("png", "r").decode(av.Packet(data))
    assert isinstance(picture, VideoFrame)
    wide = picture.to_ndarray(format="rgba64le").astype(np.uint32)
    on_black = (wide[..., :3] * wide[..., 3:] + 32767) // 65535
    return ((on_black * 255 + 32767) // 65535).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or the EXIF block is unreadable: no reason to refuse."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
