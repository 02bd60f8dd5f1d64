"""Which JPEGs are plain: every kind that Pillow and FFmpeg write, hostile bytes, and every place to cut one short."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from media import decode_image
from media.jpeg_header import JpegHeader, read_jpeg_header

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 48, 72
LIMIT = 1_000_000
SAMPLING = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}
SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def scene(height: int = HEIGHT, width: int = WIDTH, seed: int = 1) -> Image.Image:
    """Smooth colours and some noise, so that coded blocks hold many 0xFF."""
    down, across = np.mgrid[0:height, 0:width]
    smooth = np.stack([across * 255 // width, down * 255 // height, (across + down) % 256], -1)
    noise = np.random.default_rng(seed).normal(0, 25, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image | None = None, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or scene()).save(buffer, format, **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return SOI + segment(marker, body) + data[2:]


def without_adobe(data: bytes) -> bytes:
    """`data` less its first segment, which is Adobe's."""
    assert data[2:4] == b"\xff\xee"
    return SOI + data[4 + int.from_bytes(data[4:6]) :]


def exif(orientation: int, order: str = "<", *, kind: int = 3, thumbnail: bytes = b"") -> bytes:
    """An EXIF block: one directory with an orientation, then a thumbnail's bytes."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(f"{order}HH", orientation, 0) if kind == 3 else struct.pack(f"{order}I", orientation)
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + value
    return b"Exif\0\0" + magic + struct.pack(f"{order}IH", 8, 1) + entry + struct.pack(f"{order}I", 0) + thumbnail


def refused(data: bytes) -> str:
    """Why `data` is not plain."""
    answer = read_jpeg_header(data)
    assert isinstance(answer, str), answer
    return answer


PLAIN = jpeg(quality=95)
WITH_RESTARTS = jpeg(quality=95, restart_marker_rows=1)


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(sorted(SAMPLING)),
    st.integers(1, 100),
    st.booleans(),
    st.integers(0, 9),
    st.binary(max_size=20),
)
@settings(max_examples=200)
def test_what_pillow_writes_is_plain(height, width, subsampling, quality, optimize, restart, after):
    options = {"subsampling": subsampling, "quality": quality, "optimize": optimize, "restart_marker_blocks": restart}
    data = jpeg(scene(height, width), **options)
    assert read_jpeg_header(data + after) == JpegHeader(width, height, SAMPLING[subsampling], len(data))


def by_ffmpeg(pixels: str) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, pixels, Fraction(1, 25)
    frame = VideoFrame.from_ndarray(np.asarray(scene()), format="rgb24").reformat(format=pixels, dst_color_range="JPEG")
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def test_of_what_ffmpeg_writes_the_usual_kind_is_plain():
    data = by_ffmpeg("yuvj420p")
    assert read_jpeg_header(data) == JpegHeader(WIDTH, HEIGHT, (2, 2), len(data))


@pytest.mark.parametrize(("pixels", "factors"), [("yuvj422p", "22 12 12"), ("yuvj444p", "12 12 12")])
def test_sampling_written_as_multiples_is_for_others(pixels, factors):
    assert refused(by_ffmpeg(pixels)) == f"sampling {factors}"


def test_profiles_and_comments_do_not_matter():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for extra in ({"icc_profile": profile}, {"icc_profile": profile + bytes(200_000)}, {"comment": b"\xff\xd9" * 9}):
        data = jpeg(quality=95, **extra)
        assert read_jpeg_header(data) == JpegHeader(WIDTH, HEIGHT, (2, 2), len(data))
        assert np.array_equal(decode_image(data, max_pixels=LIMIT), decode_image(PLAIN, max_pixels=LIMIT))


def test_a_header_without_jfif_is_plain():
    assert PLAIN[2:4] == b"\xff\xe0"
    (length,) = struct.unpack_from(">H", PLAIN, 4)
    bare = SOI + PLAIN[4 + length :]
    assert read_jpeg_header(bare) == JpegHeader(WIDTH, HEIGHT, (2, 2), len(bare))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JPEG"),
        (jpeg(format="PNG"), "not a JPEG"),
        (jpeg(progressive=True), "progressive"),
        (jpeg(scene().convert("L")), "components: 1"),
        (jpeg(scene().convert("CMYK")), "Adobe"),
        (without_adobe(jpeg(scene().convert("CMYK"))), "components: 4"),
        (jpeg(keep_rgb=True), "colours"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc1"), "extended"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc3"), "lossless"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc9"), "arithmetic"),
        (PLAIN.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "12 bits"),
        (PLAIN.replace(b"\x11\x08\x00\x30", b"\x11\x08\x00\x00"), "frame header"),
        (PLAIN.replace(b"\x01\x22\x00", b"\x01\x12\x00"), "sampling"),
        (PLAIN.replace(b"\x01\x22\x00", b"\x01\x22\x03"), "quantisation table is missing"),
        (PLAIN.replace(b"\x01\x22\x00", b"\x52\x22\x00"), "colours"),
        (PLAIN.replace(b"\xff\xda\x00\x0c\x03\x01\x00", b"\xff\xda\x00\x0c\x03\x01\x22"), "Huffman table is missing"),
        (PLAIN.replace(b"\x00\x3f\x00", b"\x00\x05\x00"), "some coefficients"),
        (PLAIN.replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01"), "several scans"),
        (PLAIN[:-2] + segment(0xDA, b"\x01\x02\x11\x00\x3f\x00") + PLAIN[-40:], "marker 0xda"),
        (PLAIN[:-2] + segment(0xDC, b"\x00\x30") + EOI, "marker 0xdc"),
        (PLAIN[:-2] + segment(0xFE, b"after the scan") + EOI, "marker 0xfe"),
        (PLAIN[:-2] + b"\xff" + EOI, "marker 0xff"),
        (SOI + b"\xff" + PLAIN[2:], "damaged header"),
        (SOI + SOI + PLAIN[2:], "damaged header"),
        (with_segment(PLAIN, 0xEE, b"Adobe\0\x64\0\0\0\0\0"), "Adobe"),
        (with_segment(PLAIN, 0xEE, b"Adobe"), "Adobe"),
        (with_segment(PLAIN, 0xE2, b"MPF\0"), "several pictures"),
        (with_segment(PLAIN, 0xDD, b"\x04"), "restart interval"),
        (with_segment(PLAIN, 0xDE, b"\x00"), "marker 0xde"),
        (with_segment(PLAIN, 0xC0, PLAIN.partition(b"\xff\xc0\x00\x11")[2][:15]), "two frames"),
        (with_segment(PLAIN, 0xDB, b"\x03" + bytes([1] * 63 + [0])), "zero"),
        (with_segment(PLAIN, 0xDB, b"\x10" + bytes([0, 1] * 64)), "16 bits"),
        (SOI + segment(0xFE, b"") * 600 + PLAIN[2:], "too many"),
    ],
)
def test_other_kinds_are_named(data, why):
    assert why in refused(data)


def test_a_table_of_too_many_codes_is_refused():
    sixteen = segment(0xC4, b"\x00" + bytes([0] * 3 + [12] + [0] * 12) + bytes(range(12)))
    full = segment(0xC4, b"\x00" + bytes([0, 4] + [0] * 14) + bytes(range(4)))  # 11 would be all ones
    assert isinstance(read_jpeg_header(SOI + sixteen + PLAIN[2:]), JpegHeader)
    assert "too many codes" in refused(SOI + full + PLAIN[2:])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(10))
def test_only_upright_exif_is_plain(orientation, order):
    data = with_segment(PLAIN, 0xE1, exif(orientation, order))
    if orientation == 1:
        assert read_jpeg_header(data) == JpegHeader(WIDTH, HEIGHT, (2, 2), len(data))
    else:
        assert "EXIF" in refused(data)


def test_what_pillow_writes_of_exif():
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[0x010E], tags[0x0112] = "a description", orientation
        assert isinstance(read_jpeg_header(jpeg(exif=tags)), JpegHeader) == (orientation == 1)
    del tags[0x0112]
    assert isinstance(read_jpeg_header(jpeg(exif=tags)), JpegHeader)


@pytest.mark.parametrize(
    "body",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif(1)[:-8],
        exif(1, kind=4),
        b"Exif\0\0XX" + exif(1)[8:],
        exif(1)[:14] + b"\xff\xff" + exif(1)[16:],
    ],
)
def test_exif_that_is_not_clear_is_for_others(body):
    assert "EXIF" in refused(with_segment(PLAIN, 0xE1, body))


def test_two_exif_blocks_are_for_others():
    assert "EXIF" in refused(with_segment(with_segment(PLAIN, 0xE1, exif(1)), 0xE1, exif(1)))


@pytest.mark.parametrize("value", [b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_an_orientation_in_xmp_counts(value):
    name = b"http://ns.adobe.com/xap/1.0/\0"
    turned = with_segment(PLAIN, 0xE1, name + value)
    assert decode_image(turned, max_pixels=LIMIT).shape == (WIDTH, HEIGHT, 3)
    assert "XMP" in refused(turned)
    assert isinstance(read_jpeg_header(with_segment(PLAIN, 0xE1, name + value.replace(b"6", b"1"))), JpegHeader)


def test_a_thumbnail_does_not_end_the_picture():
    data = with_segment(PLAIN, 0xE1, exif(1, thumbnail=jpeg(scene(8, 8))))
    assert read_jpeg_header(data) == JpegHeader(WIDTH, HEIGHT, (2, 2), len(data))
    assert refused(data[: data.index(EOI) + 2]) == "cut short"
    assert refused(data[:-2]) == "cut short"


def test_of_two_pictures_the_first_is_read():
    second = jpeg(scene(16, 16))
    assert read_jpeg_header(PLAIN + second) == JpegHeader(WIDTH, HEIGHT, (2, 2), len(PLAIN))
    assert "several pictures" in refused(jpeg(format="MPO", save_all=True, append_images=[scene(seed=2)]))


@pytest.mark.parametrize("data", [PLAIN, WITH_RESTARTS, jpeg(scene(8, 8), optimize=True)])
def test_cut_short_anywhere_is_refused(data):
    assert isinstance(read_jpeg_header(data), JpegHeader)
    for length in range(len(data)):
        assert refused(data[:length]) in ("cut short", "not a JPEG")


def test_a_scan_that_cannot_hold_the_picture_is_refused():
    assert PLAIN.count(b"\x08\x00\x30\x00\x48\x03") == 1
    assert "too short" in refused(PLAIN.replace(b"\x08\x00\x30\x00\x48\x03", b"\x08\x40\x30\x40\x48\x03"))
    start = PLAIN.index(b"\x00\x3f\x00") + 3
    assert "too short" in refused(PLAIN[:start] + EOI)


def test_restart_markers_have_to_fit():
    first, second = WITH_RESTARTS.index(b"\xff\xd0"), WITH_RESTARTS.index(b"\xff\xd1")
    assert "restart" in refused(WITH_RESTARTS[:first] + WITH_RESTARTS[second:])
    assert "restart" in refused(WITH_RESTARTS[:second] + b"\xff\xd2" + WITH_RESTARTS[second + 2 :])
    assert "marker 0xd0" in refused(PLAIN[:-2] + b"\xff\xd0" + EOI)
    assert "restart" in refused(WITH_RESTARTS[:-2] + b"\xff\xd0" + EOI)


@given(st.data())
@settings(max_examples=400)
def test_damage_is_noticed_or_leaves_what_libjpeg_reads_in_the_same_size(data):
    original = data.draw(st.sampled_from([PLAIN, WITH_RESTARTS, with_segment(PLAIN, 0xE1, exif(1))]))
    damaged = bytearray(original)
    scan = original.index(b"\x00\x3f\x00")
    for _ in range(data.draw(st.integers(1, 3))):
        end = data.draw(st.sampled_from([scan + 3, len(original)]))  # half of them in the header
        damaged[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    header = read_jpeg_header(bytes(damaged))
    if isinstance(header, JpegHeader):
        frame = decode_image(bytes(damaged[: header.end]), max_pixels=1 << 40)
        assert frame.shape == (header.height, header.width, 3)


segments = st.builds(
    segment,
    st.sampled_from([0xC0, 0xC4, 0xDA, 0xDB, 0xDD, 0xE1, 0xE2, 0xEE]) | st.integers(0, 255),
    st.binary(max_size=80) | st.builds(bytes.__add__, st.sampled_from([b"Exif\0\0II*\0", b"Adobe"]), st.binary()),
)


@given(st.binary() | st.builds(bytes.__add__, st.just(SOI), st.builds(b"".join, st.lists(segments | st.binary()))))
@settings(max_examples=500)
def test_any_bytes_give_an_answer(data):
    assert isinstance(read_jpeg_header(data), str)
