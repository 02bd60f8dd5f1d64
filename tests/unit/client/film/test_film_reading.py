"""What people's files hold beside whole pictures of one size: read past it, with one note, or refused by --strict."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from eden_client.film.join.stream_copier import CarryPlan
from eden_client.film.read.decoder import Decoder
from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.findings import Findings
from media import MediaError
from tests.unit.client.film.odd_films import (
    RATE,
    SIZE,
    coded,
    cropped,
    damaged,
    drawings,
    film,
    joined,
    with_another_stream,
    with_empty_samples,
)

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[3] / "data"


def read(path, **options):
    """Pictures [H, W, 3], their times in pictures, and the notes."""
    with open_film_file(path, **options) as source:
        pictures = list(source.pictures())
        times = [picture.time * source.look.rate for picture in pictures]
        return [picture.pixels for picture in pictures], times, source.warnings


def test_one_bad_time_stamp_ends_no_film_that_has_others(tmp_path):
    """NUT states no rate: it is told by the times."""
    with av.open(tmp_path / "film.nut", "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        container.start_encoding()
        for number, packet in enumerate(coded("mpeg4", drawings(8), "yuv420p")[1]):
            packet.pts = packet.dts = 10**8 if number == 7 else number
            packet.time_base, packet.stream = Fraction(1, RATE), stream
            container.mux(packet)
    pictures, times, notes = read(tmp_path / "film.nut")
    assert len(pictures) == 8 and times == list(range(8))
    assert notes == ["1 pictures without a usable time stamp were placed by the frame rate"]


# ---------------------------------------------------------------- damage

INTRA = [("mjpeg", ".mov", "yuvj420p"), ("prores_ks", ".mov", "yuv422p10le"), ("png", ".mov", "rgb24")]


@pytest.mark.parametrize(("codec", "ending", "pixel_format"), INTRA, ids=[each[0] for each in INTRA])
@pytest.mark.parametrize("numbers", [[5], [5, 6, 7], [2, 9], [11]], ids=str)
def test_for_a_damaged_picture_the_one_before_is_held(tmp_path, codec, ending, pixel_format, numbers):
    whole = film(tmp_path / f"film{ending}", codec, drawings(12), pixel_format)
    before, times, notes = read(whole)
    after, times_after, notes_after = read(damaged(whole, numbers))
    assert notes == [] and times_after == times
    shown = 0
    for number, pixels in enumerate(after):
        shown = shown if number in numbers else number
        assert np.array_equal(pixels, before[shown])
    count = len(numbers)
    assert notes_after == [
        f"damaged samples of the video: {count} (for {count} the picture before is held); --strict refuses such a film"
    ]


PREDICTED = [("libx264", ".mp4"), ("libx264", ".mkv"), ("libx265", ".mp4"), ("mpeg4", ".mkv"), ("libvpx", ".webm")]


@pytest.mark.parametrize(("codec", "ending"), PREDICTED, ids=["".join(each) for each in PREDICTED])
@pytest.mark.parametrize("numbers", [[5], [3, 8]], ids=str)
def test_behind_a_damaged_sample_the_film_goes_on(tmp_path, codec, ending, numbers):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    whole = film(tmp_path / f"film{ending}", codec, options=options)
    before, times, _ = read(whole)
    after, times_after, notes = read(damaged(whole, numbers))
    assert times_after == times and len(notes) == 1 and notes[0].startswith("damaged samples of the video: ")
    assert all(np.array_equal(a, b) for a, b in zip(after[12:], before[12:], strict=True))  # from the key frame on
    assert np.array_equal(after[0], before[0])


@pytest.mark.parametrize("how", ["overwritten", "bad length"])
@pytest.mark.parametrize("numbers", [[5], [12], [23], [22, 23], [5, 15, 20]], ids=str)
def test_damage_anywhere_in_h264(tmp_path, numbers, how):
    whole = film(tmp_path / "film.mp4", "libx264")
    path = damaged(whole, numbers, how)
    _, times, notes = read(path)
    assert times == list(range(24))
    (note,) = notes
    assert (
        note.startswith(f"damaged samples of the video: {len(numbers)} (for ") and "the picture before is held" in note
    )
    with pytest.raises(MediaError, match=r"damaged-film\.mp4: damaged video data"):
        read(path, strict=True)
    assert len(read(whole, strict=True)[0]) == 24


def test_where_the_first_picture_is_damaged_the_film_begins_with_the_first_whole_one(tmp_path):
    before = read(film(tmp_path / "film.mp4", "libx264"))[0]
    after, times, notes = read(damaged(tmp_path / "film.mp4", [0]))
    lost = int(times[0])
    assert 0 < lost <= 12 and times == list(range(lost, 24))
    assert notes == [
        f"damaged samples of the video: 1 ({lost} before the first whole picture are left out); "
        "--strict refuses such a film"
    ]
    assert all(np.array_equal(a, b) for a, b in zip(after[-12:], before[12:], strict=True))


def test_a_reading_that_begins_at_a_key_frame_gives_what_a_reading_of_the_whole_gives(tmp_path):
    path = damaged(film(tmp_path / "film.mp4", "libx264"), [5, 15, 20, 23])

    def decoded(start):
        with av.open(path) as container:
            stream = container.streams.video[0]
            container.seek(start, stream=stream)
            decoder = Decoder(container, stream, stream.codec_context, "film", Findings())
            return [(each.pts, each.frame.to_ndarray(format="rgb24")) for each in decoder.pictures()]

    whole, half = decoded(0), decoded(12 * 512)
    assert [pts for pts, _ in half] == [pts for pts, _ in whole[12:]] == [512 * number for number in range(12, 24)]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(half, whole[12:], strict=True))


def test_a_film_of_nothing_but_damage_is_refused(tmp_path):
    whole = film(tmp_path / "film.mov", "mjpeg", drawings(12), "yuvj420p")
    with pytest.raises(MediaError, match=r"damaged-film\.mov: damaged video data: not one picture can be decoded"):
        read(damaged(whole, range(12)))


# ---------------------------------------------------------------- empty samples


@pytest.mark.parametrize("numbers", [[4], [3, 4, 5], [7]], ids=str)
def test_an_empty_sample_repeats_the_picture(tmp_path, numbers):
    pixels, times, notes = read(with_empty_samples(tmp_path / "film.nut", numbers))
    assert times == list(range(8)) and notes == []
    for number in range(1, 8):
        assert np.array_equal(pixels[number], pixels[number - 1]) == (number in numbers)


def test_theora_says_by_an_empty_packet_that_nothing_has_changed():
    """Twelve pictures of libtheora's encoder, which was told to repeat the fifth twice."""
    pixels, times, notes = read(DATA / "repeats.ogv", strict=True)
    assert times == list(range(12)) and notes == []
    for number in range(1, 12):
        assert np.array_equal(pixels[number], pixels[number - 1]) == (number in (5, 6))


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize(
    ("name", "first", "disposition"),
    [
        ("still.mkv", True, None),
        ("still.mov", True, None),
        ("still.mp4", True, None),
        ("cover.mp4", True, Disposition.attached_pic),
        ("behind.mkv", False, None),
    ],
)
def test_a_still_beside_the_film_is_not_the_film(tmp_path, name, first, disposition):
    path = with_another_stream(tmp_path / name, first, disposition)
    with open_film_file(path) as source:
        assert source.look.size == SIZE and len(list(source.pictures())) == 6
    with av.open(f"file:{path}") as container:
        (note,) = CarryPlan(container, "matroska").notes()  # and what is left out beside the film is the still
        still = next(stream.index for stream in container.streams if stream.codec_context.width == 96)
    assert note.startswith(f"stream {still} (video: ") and note.endswith("is left out")


# ---------------------------------------------------------------- rates


def test_the_clock_of_a_dv_tape_is_not_its_rate(tmp_path):
    path = film(tmp_path / "film.dv", "dvvideo", drawings(4, (576, 720)))
    with open_film_file(path) as source:
        assert source.look.rate == 25
        assert [picture.time for picture in source.pictures()] == [Fraction(i, 25) for i in range(4)]


@pytest.mark.parametrize(("step", "rate"), [(40, Fraction(25)), (4, Fraction(250)), (1, Fraction(1000))])
def test_a_rate_far_above_the_time_stamps_is_not_believed(tmp_path, step, rate):
    """Recordings that state the tick of their clock, 1000 a second; and those that really are that fast."""
    with av.open(tmp_path / "film.mkv", "w") as container:
        stream = container.add_stream("mjpeg", rate=1000)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        for number, pixels in enumerate(drawings(8)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number * step, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(tmp_path / "film.mkv") as container:
        assert container.streams.video[0].average_rate == 1000
    with open_film_file(tmp_path / "film.mkv") as source:
        assert source.look.rate == (rate if step > 4 else 1000)  # within four times it is a variable rate's average
        assert [picture.time for picture in source.pictures()] == [Fraction(number * step, 1000) for number in range(8)]


# ---------------------------------------------------------------- changes on the way


@pytest.mark.parametrize(("codec", "ending"), [("mjpeg", ".mkv"), ("libvpx-vp9", ".webm"), ("libx264", ".ts")])
@pytest.mark.parametrize("size", [(32, 32), (96, 128)], ids=str)
def test_pictures_of_another_size_are_scaled_to_the_first(tmp_path, codec, ending, size):
    parts = [(codec, drawings(4), {}), (codec, drawings(4, size), {}), (codec, drawings(4), {})]
    path = joined(tmp_path / f"film{ending}", parts)
    pixels, times, notes = read(path)
    assert [each.shape for each in pixels] == 12 * [(*SIZE, 3)]
    assert [time - times[0] for time in times] == list(range(12))
    assert notes == ["pictures of another size, scaled to 64x48: 4"]
    with pytest.raises(
        MediaError, match=rf"film\{ending}: the video changes its size from 64x48 to {size[1]}x{size[0]}"
    ):
        read(path, strict=True)


def test_pictures_scaled_are_those_that_were_there(tmp_path):
    flat = [np.full((*size, 3), level, np.uint8) for size, level in (((48, 64), 50), ((96, 128), 200))]
    path = joined(tmp_path / "film.mkv", [("mjpeg", [flat[0]] * 2, {}), ("mjpeg", [flat[1]] * 2, {})])
    with open_film_file(path) as source:
        levels = [
            (round(each.pixels.mean(), -1), each.original.width, each.original.format.name)
            for each in source.pictures()
        ]
    assert levels == 2 * [(50, 64, "yuvj420p")] + 2 * [(200, 64, "yuvj420p")]


@pytest.mark.parametrize(("combed", "told"), [(0, "interlaced: "), (1, "interlaced from 0:00:00.2 on: ")])
def test_interlacing_is_noted_when_it_begins(tmp_path, combed, told):
    options = [{}, {}]
    options[combed] = {"x264-params": "tff=1"}
    path = joined(tmp_path / "film.ts", [("libx264", drawings(4), each) for each in options])
    (note,) = read(path)[2]
    assert note == f"the video is {told}deinterlace it first, or its comb artefacts are interpolated too"


@pytest.mark.parametrize("edges", [(8, 4, 16, 12), (3, 0, 0, 1), (0, 0, 0, 2)], ids=str)
def test_edges_that_matroska_states_are_cut(tmp_path, edges):
    whole = read(cropped(tmp_path / "whole.mkv", 0, 0, 0, 0))[0]
    left, top, right, bottom = edges
    with open_film_file(cropped(tmp_path / "film.mkv", *edges)) as source:
        assert source.look.size == (48 - top - bottom, 64 - left - right)
        for picture, uncut in zip(source.pictures(), whole, strict=True):
            assert picture.pixels.shape[:2] == source.look.size == (picture.original.height, picture.original.width)
            apart = picture.pixels.astype(int) - uncut[top : 48 - bottom, left : 64 - right]
            assert np.abs(apart)[1:-1, 1:-1].mean() < 6  # chroma is interpolated anew, and moves by half a sample


# ---------------------------------------------------------------- colours

MATRICES = [(3, None), (15, None), (8, "YCgCo"), (10, "BT.2020 constant luminance"), (14, "ICtCp")]


@pytest.mark.parametrize(("matrix", "name"), MATRICES)
def test_rare_colour_matrices(tmp_path, matrix, name):
    """Numbers that mean nothing say nothing; those that cannot be converted are named."""
    with av.open(tmp_path / "film.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv444p"
        stream.codec_context.colorspace = matrix
        for pixels in drawings(3):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv444p")
            frame.colorspace = matrix
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if name is None:
        pixels, _, notes = read(tmp_path / "film.mkv")
        assert notes == [] and np.abs(pixels[1].astype(int) - drawings(2)[1]).mean() < 2
        with open_film_file(tmp_path / "film.mkv") as source:
            assert source.look.colours.matrix == 2
    else:
        with pytest.raises(MediaError, match=rf"film\.mkv: pictures in yuv444p .* colour matrix {name} cannot"):
            read(tmp_path / "film.mkv")
