"""Films apart and together again: times, pixel formats, colours, segments, joints."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eden_client.film.join.joining import MuxPlan, join
from eden_client.film.read.clock import PictureClock
from eden_client.film.read.film import Colours, Picture, VideoFormat
from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.image_film import ImageFilm, missing_numbers, natural
from eden_client.film.read.rotated_film import RotatedFilm
from eden_client.film.write.encoding import choose_encoding, choose_pixel_format
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.gif import write_gif
from eden_client.film.write.segments import FINEST, SegmentWriter, common_tick, packets
from media import MediaError, open_video

RATE = Fraction(24000, 1001)


def frames(count=12, height=48, width=64):
    down, across = np.mgrid[0:height, 0:width]
    return [
        np.stack([(across * 3 + 9 * i) % 256, (down * 4) % 256, (across + down + 5 * i) % 256], -1).astype(np.uint8)
        for i in range(count)
    ]


def look(**changes):
    return VideoFormat(**({"size": (48, 64), "rate": RATE, "pixel_format": "yuv420p"} | changes))


# ---------------------------------------------------------------- times


RATES = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(24), Fraction(25)]


@given(st.sampled_from(RATES), st.integers(0, 5000))
@settings(max_examples=30, deadline=None)
def test_a_constant_rate_rounded_to_milliseconds_is_made_exact_again(rate, offset):
    clock = PictureClock(Fraction(1, 1000), rate)
    stamps = [offset + round(i / rate * 1000) for i in range(200)]
    times = [clock.time(stamp) for stamp in stamps]
    assert times == [Fraction(offset, 1000) + i / rate for i in range(200)]


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=50))
@settings(deadline=None)
def test_a_variable_rate_is_left_as_it_is(steps):
    clock = PictureClock(Fraction(1, 90_000), Fraction(30))
    stamps = np.cumsum([0, *steps]).tolist()
    for stamp in stamps:
        assert abs(clock.time(stamp) - Fraction(stamp, 90_000)) <= Fraction(1, 90_000)


def test_a_picture_right_behind_one_that_was_moved_onto_the_grid_stays_where_it_is():
    clock = PictureClock(Fraction(1, 90_000), Fraction(30))
    assert [clock.time(stamp) * 90_000 for stamp in (0, 8999, 9000, 12_000)] == [0, 9000, 9001, 12_000]
    assert clock.repaired == 0


@given(st.lists(st.one_of(st.none(), st.integers(0, 20_000)), min_size=1, max_size=40))
@settings(deadline=None)
def test_times_grow_whatever_the_file_says(stamps):
    clock = PictureClock(Fraction(1, 1000), Fraction(25))
    times = [clock.time(stamp) for stamp in stamps]
    assert all(a < b for a, b in pairwise(times))


def test_pictures_far_apart_and_at_odd_moments_are_of_one_recording():
    clock = PictureClock(Fraction(1, 1000), Fraction(2, 3))
    stamps = [0, 1500, 3750, 5600, 6350, 7850, 60_000, 60_100, 23 * 3_600_000]
    assert [clock.time(stamp) * 1000 for stamp in stamps] == stamps
    assert clock.restarts.count == 0 and clock.repaired == 0


@pytest.mark.parametrize("last", [(500,), ()], ids=["one of them", "the last"])
def test_no_picture_is_shown_for_more_than_a_day(last):
    """Damaged in FLV, one is of the 19th of February 1970, which is more than a .mov holds."""
    clock = PictureClock(Fraction(1, 1000), Fraction(10))
    stamps = [0, 100, 200, 300, 4_278_223_013, *last]
    assert [clock.time(stamp) for stamp in stamps] == [Fraction(number, 10) for number in range(len(stamps))]
    assert clock.repaired == 1


def test_pictures_go_on_where_a_clock_starts_anew_and_where_one_strays():
    """Three recordings of a second one behind the other, and a time stamp of nowhere in the second one."""
    clock = PictureClock(Fraction(1, 1000), Fraction(10))
    stamps = [1400 + 100 * number for number in range(10)]
    astray = [stamp if stamp != 1800 else 0 for stamp in stamps]
    times = [clock.time(stamp) for stamp in (*stamps, *astray, *stamps)]
    assert times == [Fraction(14 + number, 10) for number in range(30)]
    assert clock.restarts.count >= 2 and clock.repaired == 0


@given(st.lists(st.fractions(Fraction(1, 100), 1, max_denominator=100), min_size=1, max_size=3))
def test_the_common_tick_is_the_coarsest_that_every_tick_is_a_multiple_of(ticks):
    tick = common_tick(ticks)
    assert all((each / tick).denominator == 1 for each in ticks)
    assert tick.numerator == 1
    coarser = [p * tick for p in range(2, tick.denominator + 1) if tick.denominator % p == 0]
    assert not any(all((each / other).denominator == 1 for each in ticks) for other in coarser)


def test_ticks_that_no_file_can_hold_together_get_the_finest_of_a_file():
    assert common_tick([Fraction(1, FINEST)]) == Fraction(1, FINEST)
    assert common_tick([Fraction(1, 99_991), Fraction(1, 99_989)]) == Fraction(1, 1_440_000)


# ---------------------------------------------------------------- what an encoding keeps


@pytest.mark.parametrize(
    ("source", "ending", "codec", "expected"),
    [
        ({}, ".mp4", None, ("libx264", "yuv420p")),
        ({"codec": "hevc"}, ".mkv", None, ("libx265", "yuv420p")),
        ({"codec": "libdav1d"}, ".webm", None, ("libsvtav1", "yuv420p")),
        ({"codec": "ffv1"}, ".mkv", None, ("ffv1", "yuv420p")),
        ({"codec": "ffv1"}, ".mp4", None, ("libx264", "yuv420p")),
        ({"pixel_format": "yuv444p"}, ".mp4", None, ("libx264", "yuv444p")),
        ({"pixel_format": "yuvj422p"}, ".mp4", None, ("libx264", "yuv422p")),
        ({"pixel_format": "yuv420p10le", "bits": 10}, ".mp4", None, ("libx265", "yuv420p10le")),
        ({"pixel_format": "yuv422p12le", "bits": 12}, ".mkv", "hevc", ("libx265", "yuv422p12le")),
        ({"pixel_format": "rgb24"}, ".mp4", None, ("libx264", "yuv420p")),
        ({"pixel_format": "rgb24"}, ".mkv", "ffv1", ("ffv1", "bgr0")),
        ({"pixel_format": "gray"}, ".mp4", None, ("libx264", "yuv420p")),
        ({"pixel_format": "bgra", "alpha": True}, ".mov", None, ("prores_ks", "yuva444p10le")),
        ({"pixel_format": "bgra", "alpha": True}, ".webm", None, ("libvpx-vp9", "yuva420p")),
        ({"pixel_format": "bgra", "alpha": True}, ".mkv", None, ("ffv1", "bgra")),
        ({}, ".mov", "prores", ("prores_ks", "yuv422p10le")),
        ({"codec": "hevc", "size": (64, 62)}, ".mkv", None, ("libx264", "yuv420p")),
        ({"pixel_format": "yuv420p10le", "bits": 10, "size": (64, 62)}, ".mp4", None, ("libx264", "yuv420p10le")),
    ],
)
def test_the_defaults_keep_what_they_can(source, ending, codec, expected):
    encoding, _ = choose_encoding(look(**source), ending, codec, None, None, None)
    assert (encoding.codec, encoding.pixel_format) == expected


@pytest.mark.parametrize(
    ("source", "ending", "asked", "note"),
    [
        ({"pixel_format": "yuv420p10le", "bits": 10}, ".mp4", {"codec": "h264", "pixel_format": "yuv420p"}, "keeps 8"),
        ({"pixel_format": "yuv420p10le", "bits": 10}, ".mkv", {}, "10 bits are kept"),
        ({"pixel_format": "bgra", "alpha": True}, ".mp4", {}, "transparency is lost"),
        ({"size": (47, 64)}, ".mp4", {}, "odd"),
        ({"aspect": Fraction(4, 3)}, ".webm", {}, "become square"),
        ({"aspect": Fraction(4, 3)}, ".mkv", {"codec": "ffv1"}, "become square"),
    ],
)
def test_what_is_lost_is_said(source, ending, asked, note):
    wishes = {"codec": None, "crf": None, "preset": None, "pixel_format": None} | asked
    _, notes = choose_encoding(look(**source), ending, **wishes)
    assert any(note in each for each in notes)


def test_y4m_gets_the_format_that_loses_least():
    offered = ["gray", *(f"yuv{chroma}p{deep}" for deep in ("", "10le") for chroma in (420, 422, 444))]

    def choice(wanted=None, **source):
        return choose_pixel_format(look(**source), offered, wanted, "y4m")

    assert choice() == ("yuv420p", [])
    assert choice(pixel_format="yuvj422p") == ("yuv422p", [])
    assert choice(pixel_format="bgra", alpha=True) == (
        "yuv444p",
        ["transparency is lost (on black): y4m in yuv444p has none"],
    )
    name, notes = choice(pixel_format="yuv444p12le", bits=12)
    assert name == "yuv444p10le" and "12 bits per colour, yuv444p10le keeps 10" in notes[0]
    assert choice("gray", pixel_format="gray") == ("gray", [])
    with pytest.raises(MediaError, match="y4m does not take rgb24"):
        choice("rgb24")


# ---------------------------------------------------------------- colours


@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("range_", [1, 2])
def test_colours_survive_the_way_there_and_back(matrix, range_, tmp_path):
    """RGB into the film's own colour space, and out of it as a player would take it."""
    colours = Colours(1, 1, matrix, range_)
    painter = FrameConverter(look(colours=colours, pixel_format="yuv444p"), "yuv444p")
    given_ = frames(1)[0]
    painted = painter.made(given_)
    assert np.abs(painted.to_ndarray(format="rgb24").astype(int) - given_).max() <= 3
    assert painter.colours == colours


def test_originals_are_handed_on_untouched():
    original = av.VideoFrame.from_ndarray(frames(1)[0], format="rgb24").reformat(format="yuv420p10le")
    painter = FrameConverter(look(pixel_format="yuv420p10le", bits=10), "yuv420p10le")
    assert painter.kept(original) is original


@pytest.mark.parametrize("format", ["rgba", "yuva420p"])
def test_transparency_is_painted(format):
    pixels, alpha = frames(1)[0], np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    on_black = pixels * (alpha[..., None] // 255)
    painted = (
        FrameConverter(look(pixel_format="rgba", alpha=True), format).made(on_black, alpha).to_ndarray(format="rgba")
    )
    assert np.abs(painted[..., 3].astype(int) - alpha).max() <= 2
    assert np.abs(painted[:, 40:, :3].astype(int) - pixels[:, 40:]).mean() < 12


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63)])
def test_padding_repeats_the_edge(size):
    pixels = frames(1)[0][: size[0], : size[1]]
    painted = (
        FrameConverter(look(size=size, pixel_format="rgb24"), "gbrp", pad=True).made(pixels).to_ndarray(format="rgb24")
    )
    assert painted.shape == (48, 64, 3)
    assert np.array_equal(painted[: size[0], : size[1]], pixels)
    assert np.array_equal(painted[-1, : size[1]], pixels[-1]) and np.array_equal(painted[: size[0], -1], pixels[:, -1])


# ---------------------------------------------------------------- segments


def written(folder, cuts, times, codec=None, ending=".mkv", **source):
    """Segments that end before the frame numbers in `cuts`, and how they are joined."""
    of = look(**source)
    encoding, _ = choose_encoding(of, ending, codec, None, None, None)
    tick = common_tick([1 / RATE, Fraction(1, 1000), Fraction(1, 24)])
    painter = FrameConverter(of, encoding.pixel_format)
    segments, pictures = [], frames(len(times))
    for number, (start, stop) in enumerate(pairwise([0, *cuts, len(times)])):
        writer = SegmentWriter(folder / f"{number}.nut", encoding, of, RATE, tick)
        for index in range(start, stop):
            writer.write(painter.made(pictures[index]), times[index])
        segments.append(writer.close())
    return segments, MuxPlan(encoding, of, tick, 1 / RATE)


def read(path):
    with av.open(path) as container:
        decoded = list(container.decode(video=0))
        return [f.pts * f.time_base for f in decoded], [f.to_ndarray(format="rgb24") for f in decoded]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "ffv1", "prores"])
def test_segments_join_into_one_film(codec, tmp_path):
    times = [i / RATE for i in range(25)]
    ending = ".mov" if codec == "prores" else ".mkv" if codec == "ffv1" else ".mp4"
    segments, joint = written(tmp_path, [9, 16], times, codec, ending)
    target = tmp_path / f"joined{ending}"
    assert join(segments, joint, target) == []
    found, pictures = read(target)
    tolerance = Fraction(1, 1000) if ending == ".mkv" else 0
    assert len(found) == 25 and all(abs(a - b) <= tolerance for a, b in zip(found, times, strict=True))
    assert all(np.abs(a.astype(int) - b).mean() < 25 for a, b in zip(pictures, frames(25), strict=True))


@pytest.mark.slow
def test_small_pictures_have_the_same_bytes_whatever_was_in_memory(tmp_path):
    # Of 60 such segments four were others, on a processor that knows AVX-512.
    encoding, _ = choose_encoding(look(), ".mkv", "h264", None, None, None)
    chance, seen, held = np.random.default_rng(0), set(), []
    for _ in range(40):
        held = [chance.integers(0, 255, chance.integers(100, 300_000)).astype(np.uint8) for _ in range(20)]
        writer = SegmentWriter(tmp_path / "one.nut", encoding, look(), RATE, 1 / RATE)
        for number, pixels in enumerate(frames(24)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            writer.write(frame, number / RATE)
        seen.add(writer.close().path.read_bytes())
    assert len(seen) == 1 and held


@given(st.lists(st.integers(1, 200), min_size=6, max_size=24), st.lists(st.integers(1, 22), max_size=3, unique=True))
@settings(max_examples=12, deadline=None)
def test_packets_have_decoding_times_that_grow_and_never_pass_their_frames(tmp_path_factory, steps, cuts):
    """At variable rates, with frames coded out of order, cut anywhere."""
    times = [Fraction(0)]
    for step in steps:
        times.append(times[-1] + Fraction(step, 1000))
    cuts = sorted(cut for cut in cuts if cut < len(times))
    segments, joint = written(tmp_path_factory.mktemp("segments"), cuts, times, "h264")
    timed = list(packets(segments, joint.last_duration))
    assert sorted(packet.shown for packet in timed) == times
    assert all(packet.decoded <= packet.shown for packet in timed)
    assert all(a.decoded < b.decoded for a, b in pairwise(timed))
    assert sum(packet.duration for packet in timed) == times[-1] + joint.last_duration


class Noting:
    """A container, and the decoding times of what is put into it."""

    def __init__(self, container) -> None:
        self.container, self.decoded = container, []

    def mux(self, packets) -> None:
        self.decoded += [packet.dts for packet in packets]
        self.container.mux(packets)

    def close(self) -> None:
        self.container.close()


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_so_few_frames_have_decoding_times_of_their_own(tmp_path, count, bits):
    of = look(bits=bits)
    encoding, _ = choose_encoding(of, ".mkv", "hevc", None, None, None)
    for _ in range(10):
        writer = SegmentWriter(tmp_path / "part.nut", encoding, of, RATE, 1 / RATE)
        writer._container = noting = Noting(writer._container)
        for index, pixels in enumerate(frames(count)):
            writer.write(FrameConverter(of, encoding.pixel_format).made(pixels), index / RATE)
        writer.close()
        assert noting.decoded == sorted(noting.decoded) and len(noting.decoded) == count
        assert all(-4 <= stamp < count for stamp in noting.decoded)


def test_a_gif_has_one_palette_and_hundredths_of_a_second(tmp_path):
    times = [Fraction(i, 24) for i in range(7)]
    segments, _ = written(tmp_path, [3], times, "ffv1", pixel_format="rgb24")
    assert write_gif(segments, look(rate=Fraction(24)), tmp_path / "out.gif") == []
    found, pictures = read(tmp_path / "out.gif")
    assert found == [Fraction(round(time * 100), 100) for time in times]
    assert all(np.abs(a.astype(int) - b).mean() < 12 for a, b in zip(pictures, frames(7), strict=True))
    with Image.open(tmp_path / "out.gif") as picture:
        assert picture.info["loop"] == 0
    assert "at 10" in write_gif(segments, look(rate=Fraction(60)), tmp_path / "fast.gif")[0]


@pytest.mark.parametrize(("codec", "ending"), [("h264", ".mkv"), ("hevc", ".mkv"), ("vp9", ".mp4"), ("prores", ".mov")])
def test_pixels_that_are_not_square_stay_so_where_nothing_else_is_said(tmp_path, codec, ending):
    aspect = Fraction(4, 3)
    segments, joint = written(tmp_path, [], [i / RATE for i in range(3)], codec, ending, aspect=aspect)
    join(segments, joint, tmp_path / f"out{ending}")
    with av.open(tmp_path / f"out{ending}") as film:
        assert film.streams.video[0].sample_aspect_ratio == aspect


def test_a_full_disk_is_called_by_its_name():
    encoding, _ = choose_encoding(look(), ".mkv", "ffv1", None, None, None)
    writer = SegmentWriter(Path("/dev/full"), encoding, look(), RATE, 1 / RATE)
    with pytest.raises(MediaError, match="/dev cannot be written to: No space left on device"):
        writer.write(FrameConverter(look(), encoding.pixel_format).made(frames(1)[0]), Fraction(0))
        writer.close()


def test_sound_that_says_nothing_of_its_loudspeakers_is_taken_over(tmp_path):
    """As Matroska has it."""
    with av.open(tmp_path / "source.mkv", "w") as container:
        video = container.add_stream("ffv1", rate=24)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        container.mux(video.encode(av.VideoFrame.from_ndarray(frames(1)[0], format="rgb24")))
        block = av.AudioFrame.from_ndarray(np.ones((1, 2 * 4800), np.int16), format="s16", layout="stereo")
        block.sample_rate = 48_000
        container.mux([*sound.encode(block), *sound.encode(), *video.encode()])
    with av.open(tmp_path / "source.mkv") as source:
        assert source.streams.audio[0].codec_context.layout.name == "2 channels"
    segments, joint = written(tmp_path, [], [i / RATE for i in range(3)], "h264", ".mov")
    assert join(segments, replace(joint, source=tmp_path / "source.mkv"), tmp_path / "out.mov") == []
    with av.open(tmp_path / "out.mov") as film:
        assert film.streams.audio[0].codec_context.layout.name == "stereo"
        assert sum(frame.samples for frame in film.decode(audio=0)) == 4800


def test_what_an_encoder_refuses_is_a_media_error(tmp_path):
    encoding, _ = choose_encoding(look(), ".mp4", None, 17, "nonsense", None)
    writer = SegmentWriter(tmp_path / "0.nut", encoding, look(), RATE, 1 / RATE)
    with pytest.raises(MediaError, match="libx264"):
        writer.write(FrameConverter(look(), "yuv420p").made(frames(1)[0]), Fraction(0))
    writer.abandon()
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- sources


def test_a_film_says_how_it_looks(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv422p10le"
        stream.codec_context.sample_aspect_ratio = Fraction(8, 9)
        stream.codec_context.color_primaries = stream.codec_context.color_trc = stream.codec_context.colorspace = 9
        for frame in frames(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with open_film_file(path) as film:
        assert film.look == VideoFormat(
            (48, 64), film.look.rate, "yuv422p10le", 10, False, Colours(9, 9, 9, 1), Fraction(8, 9), 0, "h264"
        )
        pictures = list(film.pictures())
    assert [picture.time for picture in pictures] == [pictures[0].time + i / film.look.rate for i in range(4)]
    assert all(picture.original.format.name == "yuv422p10le" for picture in pictures)


def without_a_rate(path):
    """A film of eight pictures that says nothing of its rate, or nothing true."""
    if path.suffix == ".y4m":
        rate = {"zero": " F0:0", "silent": "", "halved": " F24:0"}[path.stem]
        path.write_bytes(f"YUV4MPEG2 W64 H48{rate} C420jpeg\n".encode() + 8 * (b"FRAME\n" + bytes(64 * 48 * 3 // 2)))
    elif path.suffix == ".mkv":
        with av.open(without_a_rate(path.with_suffix(".mjpeg"))) as source, av.open(path, "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts, packet.dts, packet.stream = 0, 0, stream
                    target.mux(packet)
    else:
        with av.open(path, "w") as container:
            stream = container.add_stream({".h264": "libx264", ".mjpeg": "mjpeg"}[path.suffix], rate=24)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
            for frame in frames(8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["film.h264", "film.mjpeg", "film.mkv", "zero.y4m", "silent.y4m", "halved.y4m"])
def test_a_film_without_a_rate_is_refused_until_it_is_given_one(tmp_path, name):
    path = without_a_rate(tmp_path / name)
    with pytest.raises(MediaError, match=rf"{name}: .* no frame rate \(--source-fps"), open_film_file(path) as film:
        list(film.pictures())
    with open_film_file(path, rate=Fraction(12)) as film:
        assert film.look.rate == 12
        times = [picture.time for picture in film.pictures()]
    assert len(times) == 8 and [time - times[0] for time in times] == [Fraction(i, 12) for i in range(8)]


def test_a_rate_from_outside_goes_before_the_time_stamps(tmp_path):
    segments, joint = written(tmp_path, [], [Fraction(i * i, 1000) for i in range(8)], "ffv1")
    join(segments, joint, tmp_path / "film.mkv")
    with open_film_file(tmp_path / "film.mkv", rate=Fraction(30000, 1001)) as film:
        assert [picture.time for picture in film.pictures()] == [Fraction(1001 * i, 30000) for i in range(8)]


def test_a_text_is_no_film(tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader\n" * 50)
    with pytest.raises(MediaError, match=r"letter\.txt: it is a text"), open_film_file(tmp_path / "letter.txt"):
        pass


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_film_is_turned_upright(tmp_path, degrees):
    with av.open(tmp_path / "film.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv444p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(degrees)
        for frame in frames(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with open_video(tmp_path / "film.mp4") as video:  # turns what it reads
        shown = list(video.frames())
    with open_film_file(tmp_path / "film.mp4") as film:
        upright = RotatedFilm(film)
        assert upright.look.size == shown[0].shape[:2] and upright.look.rotation == 0
        assert upright.look.aspect == (Fraction(3, 4) if degrees % 180 else Fraction(4, 3))
        assert all(np.array_equal(p.pixels, s) for p, s in zip(upright.pictures(), shown, strict=True))


def test_transparency_is_turned_too():
    alpha = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64).astype(np.uint8)

    class Lying:
        name, container, start, ticks, expected, beside, warnings = "film", None, 0, [], None, [], []
        look = look(rotation=270, alpha=True)

        def pictures(self):
            yield Picture(frames(1)[0], Fraction(0), alpha)

    (picture,) = RotatedFilm(Lying()).pictures()
    assert np.array_equal(picture.alpha, np.rot90(alpha, 3)) and picture.original is None


def test_pictures_stand_in_natural_order(tmp_path):
    names = ["shot10.png", "shot2.png", "shot1.png", "a1b20.png", "a1b3.png"]
    paths = [tmp_path / name for name in names]
    assert [path.name for path in sorted(paths, key=natural)] == [
        "a1b3.png", "a1b20.png", "shot1.png", "shot2.png", "shot10.png",
    ]  # fmt: skip


def test_missing_numbers_are_named(tmp_path):
    of = lambda *numbers: [tmp_path / f"f{n:04d}.png" for n in numbers]  # noqa: E731
    assert missing_numbers(of(1, 2, 3)) == []
    assert "missing: 3, 6-8;" in missing_numbers(of(1, 2, 4, 5, 9))[0]
    assert "more gaps" in missing_numbers(of(*range(0, 40, 2)))[0]


def test_a_folder_of_pictures(tmp_path):
    for index, frame in enumerate(frames(3)):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    film = ImageFilm(list(tmp_path.iterdir()), "shots", Fraction(10))
    pictures = list(film.pictures())
    assert [picture.time for picture in pictures] == [0, Fraction(1, 10), Fraction(1, 5)]
    assert all(np.array_equal(picture.pixels, frame) for picture, frame in zip(pictures, frames(3), strict=True))
    Image.fromarray(frames(1)[0][:20]).save(tmp_path / "3.png")
    with pytest.raises(MediaError, match=r"3\.png is 64x20 pixels, the pictures before it are 64x48"):
        list(ImageFilm(list(tmp_path.iterdir()), "shots", Fraction(10)).pictures())
    with pytest.raises(MediaError, match="no pictures"):
        ImageFilm([], "shots", Fraction(10))


def test_a_damaged_picture_is_named(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(frames(1)[0]).save(buffer, "PNG")
    (tmp_path / "0.png").write_bytes(buffer.getvalue()[:100])
    with pytest.raises(MediaError, match=r"0\.png: .*truncated"):
        ImageFilm([tmp_path / "0.png"], "shots", Fraction(10))
