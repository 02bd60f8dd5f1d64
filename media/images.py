"""Pictures to frames and back. A frame is a uint8 array [H, W, 3], RGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import av
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from av.video.frame import VideoFrame
from PIL import ExifTags, Image

from media.errors import MediaError, shown
from media.headers import PNG_MAGIC, Header, read_header, without_metadata
from media.jpeg_header import JpegHeader, read_jpeg_header
from media.png import encode_png

Frame = np.ndarray[Any, np.dtype[np.uint8]]
ImageFormat = Literal["png", "jpeg", "webp"]

READABLE = ("PNG", "JPEG", "WEBP")
"""Pillow's names of the formats that `decode_image` reads by default. A server uses no other decoder of Pillow's."""

DEFAULT_QUALITY = 90
"""The default quality of JPEG and WebP, 1 to 100."""

_LONGEST_JPEG = 65_500
_TILE = 1 << 16
"""Pixels that are converted at once: the temporary memory of a conversion stays small, and in cache."""
_STORED: dict[int, Callable[[Frame], Frame]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""By EXIF orientation: a view of the upright frame whose rows and columns are those of the stored picture."""
_Tile = tuple[int, int, int, int]
_DEEP_FORMATS = {"gray16be": 1, "ya16be": 2, "rgb48be": 3, "rgba64be": 4}
"""FFmpeg's pixel formats for PNGs of 16 bits per channel, and their number of channels."""


def decode_image(data: bytes, *, max_pixels: int, formats: tuple[str, ...] = READABLE) -> Frame:
    """The picture in `data` as a frame [H, W, 3], upright by its EXIF orientation.

    Transparent pictures are composited on black, 16-bit ones are rounded to 256 levels, grey, palette and CMYK ones are
    converted; of an animation, the first frame is taken. Colour profiles are not applied. `media.peek` states how much
    memory decoding needs.
    Raises MediaError: no bytes, not one of `formats`, damaged, or more than `max_pixels` by its header.
    """
    header = readable_header(data, formats)
    if header is not None:
        check_pixels(header.height, header.width, max_pixels)
        data = without_metadata(data, header)
        formats = (header.format,)
        if header.format == "JPEG" and header.orientation == 1 and (frame := _plain_jpeg(data)) is not None:
            return frame
    # On damaged files Pillow raises nearly anything (SyntaxError, struct.error, OverflowError, ...).
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("an image of more pixels than any decoder here allows") from error
    except Exception as error:
        raise MediaError(_unreadable(formats)) from error
    with image:
        width, height = image.size
        check_pixels(height, width, max_pixels)
        try:
            image.load()
            orientation = _orientation(image) if header is None else header.orientation
            if not is_deep_png(data):
                return _frame(image.size, orientation, _rgb(image))
        except Exception as error:
            raise MediaError(_damaged(image)) from error
    del image  # frees its pixels: they only showed that the file is complete, which FFmpeg does not check
    try:
        return _frame((width, height), orientation, _deep_rgb(data, (width, height)))
    except Exception as error:
        raise MediaError(f"a truncated or damaged PNG image of {width}x{height}") from error


def _plain_jpeg(data: bytes) -> Frame | None:
    """A plain JPEG, decoded by libjpeg-turbo without Pillow: the same pixels in half the time, and other threads run
    meanwhile. None: Pillow has to decode it, or to report what is wrong with it."""
    plain = read_jpeg_header(data)
    if not isinstance(plain, JpegHeader):
        return None
    try:
        frame: Frame = simplejpeg.decode_jpeg(memoryview(data)[: plain.end], "RGB")
    except ValueError:
        return None
    return frame


def readable_header(data: bytes, formats: tuple[str, ...] = READABLE) -> Header | None:
    """The header of a picture in one of `formats`; None where only Pillow can read it (TIFF, BMP).

    Raises MediaError: no bytes, not one of `formats`, or damaged.
    """
    if not data:
        raise MediaError("an image of zero bytes")
    try:
        header = read_header(data)
    except ValueError as error:
        raise MediaError(_unreadable(formats)) from error
    if set(formats) <= set(READABLE) if header is None else header.format not in formats:
        raise MediaError(_unreadable(formats))
    return header


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raise MediaError if there are more than `max_pixels`."""
    if width * height > max_pixels:
        raise MediaError(f"an image of {width}x{height} = {width * height} pixels; {max_pixels} are allowed")


def _unreadable(formats: tuple[str, ...]) -> str:
    return f"not a readable image ({', '.join(formats)}), or a damaged one"


def _damaged(image: Image.Image) -> str:
    return f"a truncated or damaged {image.format} image of {image.width}x{image.height}"


def encode_image(frame: Frame, format: ImageFormat, quality: int | None = None) -> bytes:
    """`frame` [H, W, 3] as a picture file. `quality`, 1 to 100, is for JPEG and WebP; PNG is lossless.

    Raises MediaError: the format is unknown, the quality is out of range or given for PNG, or the frame has another
    shape or type, or is larger than the format can hold.
    """
    check_frame(frame)
    options = _encoder_options(format, quality)
    try:
        if format == "png":
            return encode_png(frame)
        if format == "jpeg":
            return _encode_jpeg(frame, **options)
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, format, **options)
        return buffer.getvalue()
    except (OSError, ValueError) as error:  # WebP ends at 16383 pixels per side, JPEG at 65500
        raise MediaError(f"a {format} cannot hold {frame.shape[1]}x{frame.shape[0]} pixels: {error}") from error


def _encode_jpeg(frame: Frame, quality: int) -> bytes:
    """A baseline JPEG in 4:2:0, as Pillow makes it, in half the time; other threads run meanwhile."""
    if max(frame.shape) > _LONGEST_JPEG:
        raise ValueError(f"at most {_LONGEST_JPEG} per side")
    packed: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", "420")
    return packed


def check_frame(frame: Frame) -> None:
    """Raise MediaError unless `frame` is uint8 [H, W, 3] with at least one pixel."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise MediaError(f"a frame must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")


def _encoder_options(format: str, quality: int | None) -> dict[str, int]:
    if quality is not None and not 1 <= quality <= 100:
        raise MediaError(f"quality {shown(quality)}: it goes from 1 to 100")
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
            raise MediaError(f"unknown image format {shown(format)}: png, jpeg and webp are known")


def _frame(size: tuple[int, int], orientation: int, rgb: Callable[[_Tile], Frame]) -> Frame:
    """A picture of `size` (W, H) as an upright frame. `rgb` returns the part (left, top, right, bottom), [h, w, 3]."""
    width, height = size
    frame: Frame = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    stored = _STORED.get(orientation, _STORED[1])(frame)
    columns = min(width, _TILE)
    rows = max(_TILE // columns, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        for left in range(0, width, columns):
            right = min(left + columns, width)
            stored[top:bottom, left:right] = rgb((left, top, right, bottom))
    return frame


def _rgb(image: Image.Image) -> Callable[[_Tile], Frame]:
    """A loaded picture of any 8-bit mode, on black where it is transparent."""
    transparent = image.has_transparency_data

    def tile(box: _Tile) -> Frame:
        part = image.crop(box)
        if transparent:
            rgba = np.asarray(part.convert("RGBA"), dtype=np.uint16)
            return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
        return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))

    return tile


def is_deep_png(data: bytes) -> bool:
    """Whether these bytes are a PNG of 16 bits per channel."""
    return data[:8] == PNG_MAGIC and data[24:25] == b"\x10"


def _deep_rgb(data: bytes, size: tuple[int, int]) -> Callable[[_Tile], Frame]:
    """A PNG of 16 bits per channel, decoded by FFmpeg, which keeps all 16: Pillow drops 8 of colours and clips grey."""
    (picture,) = av.CodecContext.create("png", "r").decode(av.Packet(data))
    assert isinstance(picture, VideoFrame)
    channels = _DEEP_FORMATS[picture.format.name]
    if (picture.width, picture.height) != size:
        raise ValueError("FFmpeg reads another size than Pillow")
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: size[1], : 2 * channels * size[0]]
    samples = rows.view(">u2").reshape(size[1], size[0], channels)

    def tile(box: _Tile) -> Frame:
        left, top, right, bottom = box
        wide = samples[top:bottom, left:right].astype(np.uint32)
        colour = wide[..., :3] if channels > 2 else wide[..., :1]
        if channels in (2, 4):
            colour = (colour * wide[..., -1:] + 32767) // 65535
        levels = ((colour * 255 + 32767) // 65535).astype(np.uint8)
        return np.broadcast_to(levels, (*levels.shape[:2], 3))

    return tile


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or EXIF is unreadable, which is no error."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        return orientation if orientation in _STORED else 1
    except Exception:
        return 1
