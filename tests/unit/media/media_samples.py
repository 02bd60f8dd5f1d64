"""Pictures, arrays and videos of every kind that a request may hold, made here."""

from __future__ import annotations

import io
import struct
import zlib

import av
import numpy as np
from PIL import Image

from media import encode_npy

PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
"""Of an interlaced PNG: first column and row, steps between columns and rows (PNG, section 8.2)."""


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of 16 pixels in many colours [H, W, 3]: small when packed, and not flat."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return blocks.repeat(16, 0).repeat(16, 1)[:height, :width]


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    fast = {"PNG": {"compress_level": 1}, "WEBP": {"method": 0, "quality": 50}}.get(format, {})
    image.save(buffer, format, **{**fast, **options})
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples: np.ndarray, *, interlaced: bool = False, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of [H, W, C] uint8 or uint16 samples, with chunks before and after its pixels."""
    height, width, channels = samples.shape
    big = samples.astype(">u2" if samples.dtype == np.uint16 else np.uint8)
    parts = [big[y::down, x::across] for x, y, across, down in PASSES] if interlaced else [big]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.dtype.itemsize, colours, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND", b"")


def turned(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def video(
    codec: str, format: str, *, height: int, width: int, count: int, container: str = "mp4", **options: str
) -> bytes:
    """`count` frames that move by 16 pixels each."""
    buffer, picture = io.BytesIO(), scene(height, width)
    with av.open(buffer, "w", format=container) as target:
        stream = target.add_stream(codec, rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, format
        for index in range(count):
            frame = np.ascontiguousarray(np.roll(picture, 16 * index, 1))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode())
    return buffer.getvalue()


def fragmented(data: bytes) -> bytes:
    """The same video as a fragmented mp4."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(buffer, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return buffer.getvalue()


def pictures(height: int, width: int) -> dict[str, bytes]:
    """A picture of each kind."""
    frame = scene(height, width)
    rgb = Image.fromarray(frame)
    rgba = Image.fromarray(np.concatenate([frame, frame[..., :1]], -1))
    cmyk, palette = rgb.convert("CMYK"), rgb.quantize(64)
    deep = np.concatenate([frame, frame[..., :1]], -1).astype(np.uint16) * 257
    clear = {"transparency": bytes(range(0, 256, 4))}
    return {
        "png": saved(rgb, "PNG"),
        "png-alpha": saved(rgba, "PNG"),
        "png-grey": saved(rgb.convert("L"), "PNG"),
        "png-bilevel": saved(rgb.convert("1"), "PNG"),
        "png-palette": saved(palette, "PNG"),
        "png-palette-transparent": saved(palette, "PNG", **clear),
        "png-turned": saved(rgb, "PNG", exif=turned()),
        "png-turned-behind": png(frame, after=chunk(b"eXIf", turned().tobytes().removeprefix(b"Exif\0\0"))),
        "png-key": png(frame, before=chunk(b"tRNS", struct.pack(">HHH", *frame[0, 0].tolist()))),
        "png16-grey": png(deep[..., :1]),
        "png16-grey-alpha": png(deep[..., 2:]),
        "png16": png(deep[..., :3]),
        "png16-alpha": png(deep),
        "png16-key": png(deep[..., :3], before=chunk(b"tRNS", struct.pack(">HHH", *deep[0, 0, :3].tolist()))),
        "png16-interlaced": png(deep[..., :3], interlaced=True),
        "jpeg": saved(rgb, "JPEG"),
        "jpeg-444": saved(rgb, "JPEG", subsampling=0),
        "jpeg-grey": saved(rgb.convert("L"), "JPEG"),
        "jpeg-progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg-progressive-444": saved(rgb, "JPEG", progressive=True, subsampling=0),
        "jpeg-cmyk": saved(cmyk, "JPEG"),
        "jpeg-cmyk-progressive": saved(cmyk, "JPEG", progressive=True),
        "jpeg-turned": saved(rgb, "JPEG", exif=turned()),
        "jpeg-turned-by-xmp": saved(rgb, "JPEG", xmp=b'<r tiff:Orientation="8"/>'),
        "webp": saved(rgb, "WEBP"),
        "webp-alpha": saved(rgba, "WEBP"),
        "webp-lossless": saved(rgb, "WEBP", lossless=True, quality=0),
        "webp-turned": saved(rgb, "WEBP", exif=turned()),
    }


VIDEOS = (
    *("mp4", "mp4-10-bit", "mp4-444", "mp4-hevc", "mp4-fragmented", "mp4-mpeg4"),
    *("mov", "matroska", "matroska-ffv1", "webm"),
)
"""What `videos` makes."""


def videos(height: int, width: int, count: int) -> dict[str, bytes]:
    """A video of each kind, of five frames or more: of one or two, x265 sometimes gives times that no mp4 can hold."""
    size = {"height": height, "width": width, "count": count}
    fast = {"preset": "ultrafast"}
    plain = video("libx264", "yuv420p", **size, **fast, ref="16", bf="3")
    return {
        "mp4": plain,
        "mp4-10-bit": video("libx264", "yuv420p10le", **size, **fast, ref="16"),
        "mp4-444": video("libx264", "yuv444p", **size, **fast),
        "mp4-hevc": video("libx265", "yuv420p10le", **size, **fast, **{"x265-params": "log-level=none"}),
        "mp4-fragmented": fragmented(plain),
        "mp4-mpeg4": video("mpeg4", "yuv420p", **size),
        "mov": video("libx264", "yuv420p", **size, **fast, container="mov"),
        "matroska": video("libx264", "yuv420p", **size, **fast, container="matroska"),
        "matroska-ffv1": video("ffv1", "gbrp16le", **size, container="matroska"),
        "webm": video("libvpx-vp9", "yuv420p", **size, container="webm", deadline="realtime", **{"cpu-used": "8"}),
    }


def clip(count: int, height: int, width: int) -> bytes:
    return encode_npy(np.stack([scene(height, width, seed) for seed in range(count)]))
