"""What a header says, without decoding: the same as decoding says, at once, and nothing that takes memory."""

from __future__ import annotations

import io
import struct
import time

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from media import MediaError, decode_image, decode_npy, open_video, peek
from media.headers import read_header, without_metadata
from tests.unit.media.media_samples import chunk, clip, pictures, png, saved, scene, turned, video, videos

LIMIT = 1_000_000
PICTURES, VIDEOS = pictures(37, 53), videos(64, 96, 5)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_has_the_size_that_decoding_gives(kind):
    told = peek(PICTURES[kind])
    assert (told.kind, told.frames) == ("picture", 1)
    assert (told.height, told.width, 3) == decode_image(PICTURES[kind], max_pixels=LIMIT).shape


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@given(height=st.integers(1, 30), width=st.integers(1, 30))
@settings(max_examples=8)
def test_a_turned_picture_has_the_size_that_is_shown(orientation, format, height, width):
    data = saved(Image.fromarray(scene(height, width)), format, exif=turned(orientation))
    told = peek(data)
    assert (told.height, told.width) == decode_image(data, max_pixels=LIMIT).shape[:2]
    assert (told.height, told.width) == ((height, width) if orientation < 5 else (width, height))


def orientation_in(data: bytes) -> int:
    """As Pillow has it."""
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif().get(0x0112, 1)


def with_raw_profile(packed: bool) -> bytes:
    """As ImageMagick kept EXIF in a PNG, before PNG had a place for it."""
    exif, info = turned(8).tobytes(), PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif)}\n{exif.hex()}\n", zip=packed)
    return saved(Image.fromarray(scene(8, 20)), "PNG", pnginfo=info)


def with_xmp() -> bytes:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<r><tiff:Orientation>5</tiff:Orientation></r>")
    return saved(Image.fromarray(scene(8, 20)), "PNG", pnginfo=info)


def with_exif(exif: bytes) -> bytes:
    return saved(Image.fromarray(scene(8, 20)), "JPEG", exif=b"Exif\0\0" + exif)


def directory(order: str, kind: int, value: bytes) -> bytes:
    front = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return front + struct.pack(f"{order}IHHHI4sI", 8, 1, 0x0112, kind, 1, value.ljust(4, b"\0"), 0)


@pytest.mark.parametrize(
    "data",
    [
        with_raw_profile(False),
        with_raw_profile(True),
        with_xmp(),
        with_exif(directory("<", 3, b"\6\0")),
        with_exif(directory(">", 3, b"\0\6")),
        with_exif(directory("<", 4, b"\7\0\0\0")),
    ],
)
def test_an_orientation_is_found_wherever_pillow_finds_it(data):
    assert read_header(data).orientation == orientation_in(data) != 1


@pytest.mark.parametrize("value", [0, 9, 600])
def test_an_orientation_that_there_is_not_is_none(value):
    assert read_header(with_exif(directory("<", 3, struct.pack("<H", value)))).orientation == 1


@pytest.mark.parametrize("exif", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", bytes(100)])
def test_broken_exif_is_none(exif):
    assert read_header(with_exif(exif)).orientation == 1


@pytest.mark.parametrize("kind", PICTURES)
def test_without_its_metadata_a_picture_is_the_same_one_stored_as_before(kind):
    data = PICTURES[kind]
    header = read_header(data)
    bare = without_metadata(data, header)
    with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(bare)) as stripped:
        assert np.array_equal(np.asarray(whole), np.asarray(stripped))
        if header.format != "WEBP":
            assert "exif" not in stripped.info


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_video_has_the_size_and_the_frames_that_decoding_gives(kind):
    told = peek(VIDEOS[kind])
    with open_video(VIDEOS[kind]) as opened:
        count = len(list(opened.frames()))
        assert (told.kind, told.height, told.width) == ("video", *opened.size)
    assert told.frames == (count if kind in ("mp4", "mp4-10-bit", "mp4-444", "mp4-hevc", "mp4-mpeg4", "mov") else None)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_turned_video_has_the_size_that_is_shown(turn, container):
    buffer = io.BytesIO()
    with av.open(io.BytesIO(VIDEOS["mp4"])) as source, av.open(buffer, "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(turn)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    told = peek(buffer.getvalue())
    with open_video(buffer.getvalue()) as opened:
        assert (told.height, told.width) == opened.size == ((64, 96) if turn % 180 == 0 else (96, 64))


def test_an_array_has_the_shape_that_decoding_gives():
    told = peek(clip(3, 20, 30))
    assert (told.kind, told.frames, told.height, told.width) == ("npy", 3, 20, 30)
    assert told.frame_bytes == 20 * 30 * 3


@pytest.mark.parametrize("size", [(16, 16), (16, 2048), (2048, 16), (240, 320)])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_video_of_any_shape_is_decoded_within_the_limit_that_its_header_sets(codec, size):
    height, width = size
    data = video(codec, "yuv420p", height=height, width=width, count=2)
    with open_video(data, max_pixels=height * width) as opened:
        assert opened.size == size and len(list(opened.frames())) == 2


NO_PICTURES = [
    b"",
    b"hello",
    bytes(1000),
    b"GIF89a" + bytes(40),
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"RIFF1234WEBPVP8 ",
]


@pytest.mark.parametrize("data", NO_PICTURES)
def test_what_is_no_picture_gets_the_message_of_decoding(data):
    with pytest.raises(MediaError) as decoding:
        decode_image(data, max_pixels=LIMIT)
    with pytest.raises(MediaError) as peeking:
        peek(data, ("picture",))
    assert str(peeking.value) == str(decoding.value)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(1000), VIDEOS["mp4"][:40], VIDEOS["webm"][:60]])
def test_what_is_no_video_gets_the_message_of_decoding(data):
    with pytest.raises(MediaError) as decoding, open_video(data):
        pass
    with pytest.raises(MediaError) as peeking:
        peek(data, ("video",))
    assert str(peeking.value) == str(decoding.value)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", clip(1, 4, 4)[:-1], clip(1, 4, 4).replace(b"|u1", b"<f8")])
def test_what_is_no_array_gets_the_message_of_decoding(data):
    with pytest.raises(MediaError) as decoding:
        decode_npy(data, max_pixels=LIMIT, max_frames=9)
    with pytest.raises(MediaError) as peeking:
        peek(data, ("npy",))
    assert str(peeking.value) == str(decoding.value)


def fastest(call) -> float:
    """Seconds of the processor for the quickest of some calls: what else runs on the machine does not count."""
    times = []
    for _ in range(20):
        started = time.thread_time()
        call()
        times.append(time.thread_time() - started)
    return min(times)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_large_picture_is_peeked_at_within_a_millisecond(format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8))
    data = saved(noise, format)
    assert fastest(lambda: peek(data)) < 1e-3


def progressive_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = PICTURES["jpeg-progressive"]
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * count + data[end:]


MANY = 1_000_000
HOSTILE = {
    "fill bytes": lambda: b"\xff\xd8" + b"\xff" * 10 * MANY,
    "junk between segments": lambda: b"\xff\xd8\xff\xe0\0\2" + bytes(10 * MANY),
    "segments": lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * MANY,
    "restart markers": lambda: b"\xff\xd8\xff" + b"\xd0\xff" * MANY,
    "scans": lambda: progressive_with_scans(1000),
    "chunks": lambda: png(scene(4, 4), before=chunk(b"tEXt", b"") * 200_000),
    "chunks of a WebP": lambda: b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x0c\0\0\0\3\0\0\3\0\0" + b"ABCD\0\0\0\0" * MANY,
    "boxes": lambda: b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * MANY,
    "nested boxes": lambda: b"".join(struct.pack(">I", 8 * (MANY - n)) + b"moov" for n in range(MANY)),
    "elements": lambda: VIDEOS["matroska"][:60] + b"\xec\x80" * MANY,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_without_an_end_is_refused_at_once(name):
    data = HOSTILE[name]()
    started = time.thread_time()
    with pytest.raises(MediaError, match=r"not a readable (image|video)"):
        peek(data)
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("side", [1001, 12_000, 60_000, 2**31 - 1])
def test_a_picture_of_any_size_is_only_told_of(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    told = peek(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert (told.height, told.width) == (side, side) and told.decode_bytes > 7 * side * side
