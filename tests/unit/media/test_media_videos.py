"""Videos to frames and frames to videos, on files made here."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest

from media import MediaError, encode_video, open_video
from media.video_writer import FASTEST, SLOWEST


def moving_square(count: int = 12, height: int = 64, width: int = 96) -> list[np.ndarray]:
    down, across = np.mgrid[0:height, 0:width]
    background = np.stack([across * 2, down * 3, across + down], -1).astype(np.uint8)
    frames = []
    for index in range(count):
        frame = background.copy()
        frame[8:24, 4 * index : 4 * index + 16] = (250, 40, 30)
        frames.append(frame)
    return frames


def mp4(frames, rate=Fraction(12), **options) -> bytes:
    buffer = io.BytesIO()
    encode_video(frames, rate, buffer, **options)
    return buffer.getvalue()


def rewrapped(data: bytes, format: str, **stream_settings) -> bytes:
    """The same packets in another container."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format=format) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for name, value in stream_settings.items():
            setattr(stream, name, value)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return buffer.getvalue()


def read(data, **options) -> list[np.ndarray]:
    with open_video(data, **options) as video:
        return list(video.frames())


@pytest.mark.parametrize("rate", [Fraction(12), Fraction(24000, 1001), Fraction(60000, 1001), Fraction(25, 2)])
def test_round_trip_keeps_frames_rate_and_size(rate, tmp_path):
    frames = moving_square()
    path = tmp_path / "clip.mp4"
    assert encode_video(frames, rate, path, crf=10) == 12
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        with open_video(source) as video:
            assert video.rate == rate and video.size == (64, 96)
            back = list(video.frames())
        assert len(back) == 12
        assert np.abs(np.asarray(back, int) - np.asarray(frames)).mean() < 3


@pytest.mark.parametrize("format", ["matroska", "mov"])
def test_other_containers(format):
    assert len(read(rewrapped(mp4(moving_square()), format))) == 12


def test_webm():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=10, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in moving_square(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert len(read(buffer.getvalue())) == 4


@pytest.mark.parametrize(("height", "width"), [(63, 96), (64, 95), (63, 95), (1, 1), (17, 33)])
def test_odd_sizes_get_one_more_row_or_column(height, width):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    (back, *_) = read(mp4([frame] * 3))
    assert back.shape == (height + height % 2, width + width % 2, 3)


def test_what_is_written_plays_widely():
    with av.open(io.BytesIO(mp4(moving_square()))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        times = [picture.time for picture in container.decode(video=0)]
    assert times == pytest.approx([index / 12 for index in range(12)])


def test_a_file_on_disk_has_its_index_in_front(tmp_path):
    path = tmp_path / "clip.mp4"
    encode_video(moving_square(), Fraction(12), path)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied(turn):
    frames = moving_square()
    data = bytearray(mp4(frames, crf=5))
    # The track's display matrix (ISO 14496-12, tkhd, 16.16 fixed point), rewritten for a clockwise turn.
    at = data.index(b"tkhd") + 4 + 40
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    matrix = [cosine, sine, 0, -sine, cosine, 0, 0, 0, 1]
    for index, value in enumerate(matrix):
        one = 1 << 30 if index == 8 else 1 << 16
        data[at + 4 * index : at + 4 * index + 4] = (value * one).to_bytes(4, "big", signed=True)
    back = read(bytes(data))
    expected = np.rot90(frames[0], -turn // 90)
    assert back[0].shape == expected.shape
    assert np.abs(back[0].astype(int) - expected).mean() < 3


def test_limits(tmp_path):
    data = mp4(moving_square())
    assert len(read(data, max_pixels=64 * 96, max_frames=12)) == 12
    with pytest.raises(MediaError, match="6144 pixels; 6143"):
        read(data, max_pixels=64 * 96 - 1)
    with pytest.raises(MediaError, match="more than the 11 frames"):
        read(data, max_frames=11)


def test_a_change_of_size_is_named():
    small, large = mp4(moving_square(4)), mp4(moving_square(4, 96, 128))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as target:
        offset = 0
        for part in (small, large):
            annexb = av.BitStreamFilterContext("h264_mp4toannexb", (c := av.open(io.BytesIO(part))).streams.video[0])
            if offset == 0:
                stream = target.add_stream_from_template(c.streams.video[0])
            for packet in c.demux(video=0):
                for filtered in annexb.filter(packet if packet.dts is not None else None):
                    filtered.pts += offset
                    filtered.dts += offset
                    filtered.stream = stream
                    target.mux(filtered)
            offset += 12288
            c.close()
    with pytest.raises(MediaError, match="changes its size from 96x64 to 128x96 at frame 5"):
        read(buffer.getvalue(), containers=None)


@pytest.mark.parametrize("format", ["mp4", "matroska"])
@pytest.mark.parametrize("part", [0.95, 0.6, 0.3, 0.02])
@pytest.mark.parametrize("index_first", [False, True])
def test_a_truncated_video_is_refused(format, part, index_first, tmp_path):
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    encode_video(noise, Fraction(12), path if index_first else (buffer := io.BytesIO()))
    data = path.read_bytes() if index_first else buffer.getvalue()
    if format == "matroska":
        data = rewrapped(data, format)
    assert len(read(data)) == 24
    with pytest.raises(MediaError, match=r"truncated|damaged"):
        read(data[: int(len(data) * part)])


def test_no_frames_no_video_stream_no_video():
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="no video stream"):
        read(sound.getvalue())
    with pytest.raises(MediaError, match="zero bytes"):
        read(b"")
    with pytest.raises(MediaError, match="not a readable video"):
        read(b"certainly not a video" * 100)
    with pytest.raises(FileNotFoundError):
        read("/no/such/file.mp4")


def test_playlists_are_not_followed(tmp_path):
    secret = tmp_path / "secret.mp4"
    encode_video(moving_square(), Fraction(12), secret)
    for playlist in (
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    ):
        with pytest.raises(MediaError, match="not a readable video"):
            read(playlist.encode())


def test_frames_that_make_no_video_are_refused():
    with pytest.raises(MediaError, match="no frames"):
        mp4([])
    with pytest.raises(MediaError, match=r"frame 1 is \[32, 32, 3\]"):
        mp4([np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)])


@pytest.mark.parametrize("shape", [(16, 16386, 3), (16386, 16, 3)])
def test_sides_that_no_mp4_can_have_are_refused(shape):
    with pytest.raises(MediaError, match=f"an mp4 cannot hold {shape[1]}x{shape[0]} pixels: a side may be 16384"):
        mp4([np.zeros(shape, np.uint8)])


@pytest.mark.parametrize("shape", [(16, 16384, 3), (16384, 16, 3)])
def test_the_largest_sides_are_encoded(shape):
    with open_video(mp4([np.zeros(shape, np.uint8)] * 2)) as video:
        assert video.size == shape[:2]


@pytest.mark.parametrize("rate", [SLOWEST, FASTEST])
def test_at_the_slowest_and_the_fastest_rate_no_frame_is_lost(rate):
    frames = list(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8))
    for count in range(1, len(frames) + 1):
        with open_video(mp4(frames[:count], rate)) as video:
            assert (video.rate, len(list(video.frames()))) == (rate, count)


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (Fraction(0), "0"),
        (Fraction(-24), "-24"),
        (Fraction(1, 100_000), "1e-05"),
        (Fraction(2001), "2001"),
        (Fraction(10**5000), "1e\\+09"),
        (Fraction(2_000_000_014, 1_000_000_009), "2"),
        (Fraction(1, 10**5000), "0"),
    ],
)
def test_a_rate_that_no_mp4_can_have_is_refused_and_the_bounds_are_named(rate, shown):
    bounds = "it must be from 1/1000 to 2000, its numerator and denominator at most 20000000"
    with pytest.raises(MediaError, match=f"a frame rate of {shown} for an mp4: {bounds}"):
        mp4(moving_square(), rate)


def test_many_threads_at_once():
    data = mp4(moving_square())
    expected = read(data)
    with ThreadPoolExecutor(4) as pool:
        for frames in pool.map(read, [data] * 8):
            assert all(np.array_equal(a, b) for a, b in zip(frames, expected, strict=True))
