"""Pictures of every kind to frames, and frames to pictures."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from media import MediaError, decode_image, encode_image

LIMIT = 1_000_000
frames = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    down, across = np.mgrid[0:height, 0:width]
    return np.stack([across * 255 // width, down * 255 // height, (across + down) % 256], -1).astype(np.uint8)


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(samples: np.ndarray) -> bytes:
    """A 16-bit PNG of [H, W, C] uint16 samples, put together by hand: Pillow writes none in colour."""
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_is_what_pillow_makes_of_it_whoever_decodes_it(subsampling, options):
    smooth = Image.fromarray(np.random.default_rng(5).integers(0, 256, (9, 13, 3), np.uint8)).resize((333, 217))
    target = io.BytesIO()
    smooth.save(target, "JPEG", quality=83, subsampling=subsampling, **options)
    frame = decode_image(target.getvalue(), max_pixels=10**6)
    assert np.array_equal(frame, np.asarray(Image.open(target)))


@given(frames)
@settings(max_examples=40, deadline=None)
def test_png_is_lossless(frame):
    assert np.array_equal(decode_image(encode_image(frame, "png"), max_pixels=LIMIT), frame)


def test_png_is_what_others_read():
    frame = gradient()
    data = encode_image(frame, "png")
    Image.open(io.BytesIO(data)).verify()  # checksums too
    (picture,) = av.CodecContext.create("png", "r").decode(av.Packet(data))
    assert np.array_equal(picture.to_ndarray(format="rgb24"), frame)


@pytest.mark.parametrize(("format", "magic"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_lossy_formats_are_close_and_quality_counts(format, magic):
    frame = gradient()
    fine, coarse = encode_image(frame, format, 95), encode_image(frame, format, 5)
    assert fine.startswith(magic) and len(coarse) < len(fine)
    errors = [np.abs(decode_image(data, max_pixels=LIMIT).astype(int) - frame).mean() for data in (fine, coarse)]
    assert errors[0] < 3 < errors[1]


@pytest.mark.parametrize(
    ("format", "quality", "wrong"),
    [("jpeg", 0, "quality 0"), ("webp", 101, "quality 101"), ("png", 50, "lossless"), ("bmp", None, "unknown")],
)
def test_settings_that_cannot_be_met_are_named(format, quality, wrong):
    with pytest.raises(MediaError, match=wrong):
        encode_image(gradient(), format, quality)


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_only_frames_are_encoded(frame):
    with pytest.raises(MediaError, match="uint8"):
        encode_image(frame, "png")


def test_too_wide_for_webp_says_so():
    with pytest.raises(MediaError, match="16400x1"):
        encode_image(np.zeros((1, 16400, 3), np.uint8), "webp")


def test_grey_palette_bilevel_and_cmyk_are_converted():
    frame = gradient()
    grey = Image.fromarray(frame[..., 0])
    assert np.array_equal(decode_image(saved(grey), max_pixels=LIMIT), np.repeat(frame[..., :1], 3, -1))
    palette = Image.fromarray(frame).quantize(32)
    assert np.array_equal(decode_image(saved(palette), max_pixels=LIMIT), np.asarray(palette.convert("RGB")))
    bilevel = grey.convert("1")
    assert np.array_equal(decode_image(saved(bilevel), max_pixels=LIMIT), np.asarray(bilevel.convert("RGB")))
    flat = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    red = decode_image(saved(flat, "JPEG", quality=95), max_pixels=LIMIT).reshape(-1, 3).mean(0)
    assert red[0] > 230 and red[1:].max() < 25


def test_alpha_is_composited_on_black():
    rgba = np.full((16, 16, 4), (200, 100, 50, 255), np.uint8)
    rgba[:8, :, 3] = 0
    rgba[8, :, 3] = 128
    for format in ("PNG", "WEBP"):
        frame = decode_image(saved(Image.fromarray(rgba), format, lossless=True), max_pixels=LIMIT)
        assert not frame[:8].any()
        assert np.abs(frame[8].astype(int) - (100, 50, 25)).max() <= 1
        assert (frame[9:] == (200, 100, 50)).all()


def test_a_transparent_palette_entry_is_black():
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 250, 120, 10])
    assert not decode_image(saved(picture, transparency=1), max_pixels=LIMIT).any()
    assert (decode_image(saved(picture), max_pixels=LIMIT) == (250, 120, 10)).all()


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_sixteen_bits_are_scaled_to_the_nearest_level(channels, seed):
    samples = np.random.default_rng(seed).integers(0, 65536, (9, 17, channels), np.uint16)
    exact = samples.astype(np.float64)
    colour = exact[..., :3] if channels > 2 else np.repeat(exact[..., :1], 3, -1)
    if channels in (2, 4):
        colour = colour * exact[..., -1:] / 65535
    frame = decode_image(deep_png(samples), max_pixels=LIMIT)
    assert np.abs(frame - colour * 255 / 65535).max() <= 0.51  # 0.5, and the one rounding of the alpha product


def test_sixteen_bits_are_not_truncated():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    expected = np.rint(levels / 257).astype(np.uint8)
    for channels in (1, 3):
        frame = decode_image(deep_png(np.repeat(levels, channels, -1)), max_pixels=LIMIT)
        assert np.array_equal(frame, np.repeat(expected, 3, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_exif_rotation_is_undone(orientation, deep):
    frame = gradient(24, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(frame)
    upright = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    expected = np.asarray(image.transpose(upright[orientation]) if orientation in upright else image)
    if deep:
        data = deep_png(frame.astype(np.uint16) * 257)
        data = data[:33] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[33:]
    else:
        data = saved(image, exif=exif)
    assert np.array_equal(decode_image(data, max_pixels=LIMIT), expected)


def test_a_broken_exif_block_does_not_matter():
    data = saved(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0nonsense")
    assert decode_image(data, max_pixels=LIMIT).shape == (48, 64, 3)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.9, 0.5, 0.1])
def test_a_truncated_image_is_refused(format, part):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = saved(noise, format)
    with pytest.raises(MediaError, match=r"truncated|damaged"):
        decode_image(data[: int(len(data) * part)], max_pixels=LIMIT)


def test_a_truncated_deep_png_is_refused():
    data = deep_png(np.random.default_rng(0).integers(0, 65536, (64, 64, 3), np.uint16))
    with pytest.raises(MediaError, match="truncated"):
        decode_image(data[: len(data) // 2], max_pixels=LIMIT)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40), bytes(1000)])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(MediaError, match="image"):
        decode_image(data, max_pixels=LIMIT)


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from(["PNG", "JPEG", "WEBP"]))
@settings(max_examples=60, deadline=None)
def test_damage_gives_a_frame_or_a_media_error_and_nothing_else(noise, at, format):
    data = saved(Image.fromarray(gradient(16, 16)), format)
    at %= len(data)
    damaged = data[:at] + noise + data[at + len(noise) :]
    with contextlib.suppress(MediaError):
        assert decode_image(damaged, max_pixels=LIMIT).dtype == np.uint8


@pytest.mark.parametrize("side", [1001, 12_000, 60_000])
def test_a_decompression_bomb_is_told_from_its_header(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(MediaError, match="pixels"):
        decode_image(bomb, max_pixels=LIMIT)


def test_frames_can_be_written_to():
    assert decode_image(encode_image(gradient(), "png"), max_pixels=LIMIT).flags.writeable


def test_many_threads_at_once():
    frames = [np.full((32, 32, 3), value, np.uint8) for value in range(64)]
    with ThreadPoolExecutor(8) as pool:
        back = list(pool.map(lambda f: decode_image(encode_image(f, "png"), max_pixels=LIMIT), frames))
    assert all(np.array_equal(a, b) for a, b in zip(frames, back, strict=True))
