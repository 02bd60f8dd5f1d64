"""Frames that are none: cut, flipped, of lying headers, and small files that state enormous pictures."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import media
from tests.e2e.servers import moving_frames
from tests.security.group import Case, attack, for_target
from tests.security.targets import ENCODER_TARGET, READ_FRAMES, READ_FRAMES_BY_HTTP, Call, Client, Target
from tests.security.wire import Part

FRAMES = moving_frames(4)
REFUSED, TOO_LARGE = frozenset({400}), frozenset({400, 413})
ANY = frozenset({200, 400, 413})
"""Of damaged files: what is still a clip is served."""


def png(frame: np.ndarray) -> bytes:
    return media.encode_image(frame, "png")


def picture(frame: np.ndarray, format: str) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, format)
    return target.getvalue()


@cache
def mp4(count: int = 4, rate: Fraction = Fraction(12)) -> bytes:
    target = io.BytesIO()
    media.encode_video(list(moving_frames(count)), rate, target)
    return target.getvalue()


def webm() -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=12)
        stream.height, stream.width, stream.pix_fmt = *FRAMES.shape[1:3], "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()


PNGS = [png(frame) for frame in FRAMES]


def second(data: bytes, first: bytes = PNGS[0]) -> Call:
    """A form whose second picture this is."""
    return Call((Part("frame0", first, filename="0"), Part("frame1", data, filename="1")))


FILES: dict[str, tuple[bytes, Callable[[bytes], Call]]] = {
    "PNG": (PNGS[1], second),
    "JPEG": (picture(FRAMES[1], "JPEG"), second),
    "WebP": (picture(FRAMES[1], "WebP"), second),
    "mp4": (mp4(), Call),
    "webm": (webm(), Call),
    "npy": (media.encode_npy(FRAMES), Call),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def stated_png(
    width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"\0", interlace: int = 0
) -> bytes:
    """A PNG of a few bytes whose header says this."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pieces = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def stated_npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A .npy whose header says this."""
    text = header.encode().ljust(118) + b"\n"
    return media.NPY_MAGIC + version + struct.pack("<H" if version == b"\x01\x00" else "<I", len(text)) + text + data


def shaped(*shape: int | str, descr: str = "|u1") -> str:
    sides = "".join(f"{side}, " for side in shape)
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}"


def cuts(data: bytes) -> Iterator[tuple[str, bytes]]:
    for at in sorted(
        {1, 2, 4, 8, 12, 16, 24, 33, *(len(data) * i // 12 for i in range(1, 12)), len(data) - 5, len(data) - 1}
    ):
        yield f"cut at {at}", data[:at]


def flips(data: bytes, seed: int, count: int = 24) -> Iterator[tuple[str, bytes]]:
    """Bits turned: half of them near the start, where headers are, the rest anywhere."""
    random_ = random.Random(seed)
    for i in range(count):
        at = random_.randrange(min(len(data), 200) if i % 2 else len(data))
        bit = random_.randrange(8)
        yield f"bit {bit} of byte {at}", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_a_file_cut_short_or_damaged(client: Client, target: Target):
    cases = [
        Case(f"{kind} {what}", call(damaged), REFUSED if kind == "npy" and what.startswith("cut") else ANY)
        for kind, (data, call) in FILES.items()
        for what, damaged in (*cuts(data), *flips(data, len(kind)))
    ]
    attack(client, target, for_target(target, cases))


@cache
def bombs() -> dict[str, bytes]:
    return {
        "60000x60000": stated_png(60000, 60000),
        "60000x60000 of 16 bits": stated_png(60000, 60000, 16),
        "2**31 - 1 squared": stated_png(2**31 - 1, 2**31 - 1),
        "2**32 - 1 squared": stated_png(2**32 - 1, 2**32 - 1),
        "no width": stated_png(0, 64),
        "no height": stated_png(96, 0),
        "16x1000000": stated_png(16, 1_000_000),
        "1000000x16": stated_png(1_000_000, 16),
        "5000x5000 grey": stated_png(5000, 5000, 8, 0),
        "5000x5000 of 1 bit": stated_png(5000, 5000, 1, 0),
        "5000x5000 of 16 bits and alpha": stated_png(5000, 5000, 16, 6),
        "5000x5000 interlaced": stated_png(5000, 5000, 8, 2, b"\0", 1),
        "5000x5000 that unpacks to its size": stated_png(5000, 5000, 8, 0, bytes(5001 * 5000)),
        "96x64 that unpacks to 100 MB": stated_png(96, 64, 8, 2, bytes(100 << 20)),
        "a palette without colours": stated_png(96, 64, 8, 3, bytes(97 * 64)),
        "an unknown depth": stated_png(96, 64, 7),
        "an unknown colour type": stated_png(96, 64, 8, 9),
    }


SMALL = {
    "zero bytes": b"",
    "one byte": b"\x89",
    "only a magic": b"\x89PNG\r\n\x1a\n",
    "1x1": png(FRAMES[0][:1, :1]),
    "15x40": png(FRAMES[0][:40, :15]),
    "another size": png(FRAMES[0][:, :64]),
    "turned": png(np.rot90(FRAMES[0])),
    "words": b"hello",
    "HTML": b"<html><svg onload=alert(1)>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
    "PDF": b"%PDF-1.7\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "GIF": picture(FRAMES[0], "GIF"),
    "BMP": picture(FRAMES[0], "BMP"),
    "TIFF": picture(FRAMES[0], "TIFF"),
    "zip": b"PK\x03\x04" + bytes(60),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(60),
    "pickle": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    "a PNG's magic on a JPEG": b"\x89PNG\r\n\x1a\n" + picture(FRAMES[0], "JPEG"),
    "a JPEG's magic on a PNG": b"\xff\xd8\xff\xe0" + PNGS[0][4:],
    "RIFF of no picture": b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(60),
    "WebP of 2**32 bytes": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(60),
    "WebP of 16384x16384": b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(60),
    "JPEG of 65535x65535": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9",
    "JPEG of an endless segment": b"\xff\xd8\xff\xe1\xff\xff" + bytes(60),
    "an ICO": b"\0\0\1\0\1\0\0\0\0\0\1\0 \0" + bytes(60),
}
MAY_BE_READ = {"96x64 that unpacks to 100 MB", "a palette without colours"}
"""The size is right, and what is too much may be left."""
OF_ANOTHER_SIZE = {"another size", "turned"}
"""Two of these are a clip."""


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_a_picture_that_is_none_or_enormous(client: Client, target: Target):
    cases = [
        case
        for what, data in (bombs() | SMALL).items()
        for case in (
            Case(f"{what}, second", second(data), ANY if what in MAY_BE_READ else TOO_LARGE, ("frame1",)),
            Case(f"{what}, both", second(data, data), ANY if what in MAY_BE_READ | OF_ANOTHER_SIZE else TOO_LARGE),
        )
    ]
    attack(client, target, for_target(target, cases))


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_a_body_that_is_no_clip(client: Client, target: Target):
    cases = [Case(what, Call(data), TOO_LARGE) for what, data in (bombs() | SMALL).items()]
    attack(client, target, for_target(target, cases))


BIG = 10**18
NPY = {
    "a huge K": stated_npy(shaped(BIG, 64, 96, 3)),
    "a huge H": stated_npy(shaped(2, BIG, 96, 3)),
    "a huge W": stated_npy(shaped(2, 64, BIG, 3)),
    "huge channels": stated_npy(shaped(2, 64, 96, BIG)),
    "all huge": stated_npy(shaped(BIG, BIG, BIG, BIG)),
    "2**63 bytes": stated_npy(shaped(2**31, 2**31, 2, 3)),
    "2**64 bytes wrap to 0": stated_npy(shaped(2**32, 2**16, 2**16, 3)),
    "no frames": stated_npy(shaped(0, 64, 96, 3)),
    "no height": stated_npy(shaped(2, 0, 96, 3)),
    "no width": stated_npy(shaped(2, 64, 0, 3)),
    "no channels": stated_npy(shaped(2, 64, 96, 0)),
    "one frame": stated_npy(shaped(1, 64, 96, 3), bytes(64 * 96 * 3)),
    "one more frame than is there": stated_npy(shaped(3, 64, 96, 3), bytes(2 * 64 * 96 * 3)),
    "one less": stated_npy(shaped(2, 64, 96, 3), bytes(3 * 64 * 96 * 3)),
    "a negative K": stated_npy(shaped(-2, 64, 96, 3)),
    "negative sides": stated_npy(shaped(2, -64, -96, 3), bytes(2 * 64 * 96 * 3)),
    "a K in words": stated_npy(shaped("two", 64, 96, 3)),
    "a K of 5,000 digits": stated_npy(shaped("9" * 5000, 64, 96, 3)),
    "an expression": stated_npy(shaped("__import__('os').system('id')", 64, 96, 3)),
    "a power": stated_npy(shaped("9**9**9", 64, 96, 3)),
    "three sides": stated_npy(shaped(64, 96, 3), bytes(64 * 96 * 3)),
    "32 sides": stated_npy(shaped(*[1] * 32)),
    "1,000 sides": stated_npy(shaped(*[1] * 1000)),
    "floats": stated_npy(shaped(2, 64, 96, 3, descr="<f4"), bytes(4 * 2 * 64 * 96 * 3)),
    "objects": stated_npy(shaped(2, 64, 96, 3, descr="|O"), b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."),
    "records": stated_npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 64, 96, 3), }"),
    "an unknown type": stated_npy(shaped(2, 64, 96, 3, descr="|z9")),
    "a type of 10**9 bytes": stated_npy(shaped(2, 64, 96, 3, descr="|S999999999")),
    "no shape": stated_npy("{'descr': '|u1', 'fortran_order': False}"),
    "two shapes": stated_npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 64, 96, 3), 'shape': (2, 64, 96, 3), }"
    ),
    "a deep header": stated_npy("(" * 5000),
    "a header of 9 MB": stated_npy(shaped(2, 64, 96, 3) + " " * (9 << 20), version=b"\x02\x00"),
    "a header of 4 GB": media.NPY_MAGIC + b"\x02\x00\xff\xff\xff\xff" + b"{" * 60,
    "version 9": stated_npy(shaped(2, 64, 96, 3), version=b"\x09\x00"),
    "only a magic": media.NPY_MAGIC,
    "1x1": media.encode_npy(moving_frames(2)[:, :1, :1]),
    "15x15": media.encode_npy(moving_frames(2)[:, :15, :15]),
    "16x1000000": stated_npy(shaped(2, 16, 1_000_000, 3)),
    "2,000 frames": media.encode_npy(np.zeros((2000, 16, 16, 3), np.uint8)),
}


PLANES = {
    "a huge K": stated_npy(shaped(BIG, 96, 96)),
    "a huge H": stated_npy(shaped(2, 3 * BIG, 96)),
    "a huge W": stated_npy(shaped(2, 96, BIG)),
    "2**64 bytes wrap to 0": stated_npy(shaped(2**32, 3 * 2**16, 2**16)),
    "no height": stated_npy(shaped(2, 0, 96)),
    "no whole height": stated_npy(shaped(2, 97, 96), bytes(2 * 97 * 96)),
    "an odd width": stated_npy(shaped(2, 96, 95), bytes(2 * 96 * 95)),
    "8x8": stated_npy(shaped(2, 12, 8), bytes(2 * 12 * 8)),
    "one more frame than is there": stated_npy(shaped(3, 96, 96), bytes(2 * 96 * 96)),
    "RGB": media.encode_npy(moving_frames(2)),
    "no array": PNGS[0],
}


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_an_array_whose_header_lies(client: Client, target: Target):
    cases = [Case(what, Call(data), TOO_LARGE) for what, data in NPY.items()]
    cases += [
        Case(f"planes: {what}", Call((Part("clip", data), Part("layout", b"i420"))), REFUSED)
        for what, data in PLANES.items()
    ]
    attack(client, target, for_target(target, cases))


def patched(box: bytes, offset: int, value: bytes, times: int = 1) -> bytes:
    """The mp4 with bytes after a box's name replaced."""
    data = mp4()
    at = -1
    for _ in range(times):
        at = data.index(box, at + 1)
    start = at + 4 + offset
    return data[:start] + value + data[start + len(value) :]


FULL = b"\xff" * 4
MP4 = {
    "a track of 65535x65535": patched(b"tkhd", 76, FULL * 2),
    "samples of 65535x65535": patched(b"avc1", 24, FULL),
    "samples of 0x0": patched(b"avc1", 24, bytes(4)),
    "samples of 1x1": patched(b"avc1", 24, b"\0\1\0\1"),
    "a time scale of 2**32 - 1": patched(b"mdhd", 12, FULL),
    "a time scale of 0": patched(b"mdhd", 12, bytes(4)),
    "a duration of 2**32 - 1": patched(b"mdhd", 16, FULL),
    "2**32 - 1 times": patched(b"stts", 4, FULL),
    "2**32 - 1 samples of one time": patched(b"stts", 8, FULL),
    "samples 2**32 - 1 apart": patched(b"stts", 12, FULL),
    "samples that take no time": patched(b"stts", 12, bytes(4)),
    "2**32 - 1 sizes": patched(b"stsz", 8, FULL),
    "samples of 2**32 - 1 bytes": patched(b"stsz", 4, FULL),
    "2**31 sizes": patched(b"stsz", 8, b"\x80\0\0\0"),
    "16 million sizes of one byte": patched(b"stsz", 4, b"\0\0\0\1\0\xff\xff\xff"),
    "2**32 - 1 chunks": patched(b"stco", 4, FULL),
    "a chunk at 2**32 - 1": patched(b"stco", 8, FULL),
    "2**32 - 1 runs of chunks": patched(b"stsc", 4, FULL),
    "2**32 - 1 samples per chunk": patched(b"stsc", 12, FULL),
    "2**32 - 1 descriptions": patched(b"stsd", 4, FULL),
    "an unknown codec": patched(b"avc1", -4, b"zzzz"),
    "another codec": patched(b"avc1", -4, b"mp4v"),
    "a set of parameters of 65535 bytes": patched(b"avcC", 6, b"\xff\xff"),
    "32 sets of parameters": patched(b"avcC", 5, b"\xff"),
    "a profile of 255": patched(b"avcC", 1, b"\xff\xff\xff"),
    "a box of 2**32 - 1 bytes": patched(b"moov", -8, FULL),
    "a box of 0 bytes": patched(b"moov", -8, bytes(4)),
    "a box of 1 byte": patched(b"trak", -8, b"\0\0\0\1"),
    "boxes in themselves": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0\0\0\x08moov" * 5000,
    "boxes 2,000 deep": b"\0\0\0\x18ftypisom\0\0\0\0isommp42"
    + b"".join(struct.pack(">I", 8 * (2000 - i)) + b"moov" for i in range(2000)),
    "no samples": patched(b"mdat", -4, b"free"),
    "samples of noise": patched(b"mdat", 0, random.Random(1).randbytes(2000)),
    "one frame": mp4(1),
    "a rate of 2000": mp4(3, Fraction(2000)),
    "a playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a manifest": b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
    "y4m": b"YUV4MPEG2 W96 H64 F24:1\nFRAME\n" + bytes(96 * 64 * 3 // 2),
    "AVI": b"RIFF\xff\xff\xff\xffAVI LIST" + bytes(60),
    "webm of endless length": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(60),
    "webm of nothing but its head": webm()[:40],
}
STILL_A_CLIP = {
    "2**32 - 1 chunks",
    "no samples",
    "a track of 65535x65535",
    "a time scale of 2**32 - 1",
    "a time scale of 0",
    "a duration of 2**32 - 1",
    "samples of 0x0",
    "samples 2**32 - 1 apart",
    "samples that take no time",
    "a profile of 255",
    "32 sets of parameters",
    "another codec",
    "2**32 - 1 samples of one time",
    "a box of 2**32 - 1 bytes",
    "samples of 1x1",
    "a box of 0 bytes",
    "samples of 65535x65535",
    "a set of parameters of 65535 bytes",
    "2**32 - 1 descriptions",
    "an unknown codec",
    "a box of 1 byte",
}
"""What FFmpeg may read nevertheless, since the stream itself, or a default, says otherwise."""


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_a_video_that_states_what_cannot_be(client: Client, target: Target):
    cases = [Case(what, Call(data), ANY if what in STILL_A_CLIP else TOO_LARGE) for what, data in MP4.items()]
    attack(client, target, for_target(target, cases))


def test_an_mp4_of_an_absurd_rate_is_told_to_name_another_and_then_served(client: Client):
    video = MP4["a rate of 2000"]
    words = ("the video states 2000 frames per second: set fps, from 1/1000 to 1000",)
    attack(client, ENCODER_TARGET, [Case("no fps", Call(video, content_type="video/mp4"), words=words)])
    slow = Call(video, [("X-Eden-Fps", "1/1000")], "video/mp4")
    for target in READ_FRAMES_BY_HTTP[::2]:
        answer = client.call(target, slow)
        with media.open_video(answer.body) as read:
            assert read.rate == Fraction(2, 1000)
            assert len(list(read.frames())) == 5


@settings(max_examples=2, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(FILES)), st.binary(min_size=1, max_size=16), st.floats(0, 1)),
        min_size=24,
        max_size=24,
    )
)
def test_any_damage(client: Client, damages: list[tuple[str, bytes, float]]):
    for target in READ_FRAMES_BY_HTTP:
        cases = []
        for i, (kind, wrong, where) in enumerate(damages):
            data, call = FILES[kind]
            at = int(where * (len(data) - 1))
            cases.append(
                Case(f"{i}: {kind}, {wrong!r} at {at}", call(data[:at] + wrong + data[at + len(wrong) :]), ANY)
            )
        attack(client, target, for_target(target, cases))
