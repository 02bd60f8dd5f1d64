"""A part of a film, and slow motion."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest

from eden_client.film.order import Order
from eden_client.film.read.film_part import FilmPart
from eden_client.film.read.sources import open_film
from eden_client.film.run import interpolate_film
from media import MediaError
from tests.e2e.client_films import write_film
from tests.unit.client.film.drawing import Drawing, Silent

RATE = Fraction(25)
COUNT = 100


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Four seconds with sound, each picture of a grey of its own, a key frame every 12 of them."""
    frames = [np.full((48, 64, 3), 20 + 2 * number, np.uint8) for number in range(COUNT)]
    options = {"crf": "1", "g": "12", "sc_threshold": "0"}
    return write_film(
        tmp_path_factory.mktemp("films") / "in.mp4", frames, RATE, sound=["aac"], beep_at=None, options=options
    )


def make(source, target, report=None, **wishes):
    order = Order(str(source), str(target), **{"cuts": None, "duplicates": "off", "codec": "ffv1"} | wishes)
    return interpolate_film(order, Drawing(None), report or Silent(), partial(Drawing, None))


def shown(path):
    """Its kinds of stream; the time and the grey of each picture, as the number that the source had it at."""
    with av.open(path) as film:
        kinds = [stream.type for stream in film.streams]
        pictures = [
            (round(frame.time, 3), (frame.to_ndarray(format="gray").mean() - 20) / 2) for frame in film.decode(video=0)
        ]
    return kinds, pictures


@pytest.mark.parametrize(("start", "first"), [("0", 0), ("1.2", 30), ("1.21", 31), ("3.9", 97.5)])
def test_a_part_is_what_lies_there(source, tmp_path, start, first):
    summary = make(source, tmp_path / "out.mkv", start=Fraction(start), duration=Fraction("0.4"))
    kinds, pictures = shown(tmp_path / "out.mkv")
    first = int(first + 0.5)
    count = min(10, COUNT - first)
    assert kinds == ["video"] and summary.frames_in == count
    assert any("sound left out" in note for note in summary.warnings)
    assert [time for time, _ in pictures[::2]] == pytest.approx([number / 25 for number in range(count)], abs=0.002)
    assert [grey for _, grey in pictures[::2]] == pytest.approx(range(first, first + count), abs=0.9)


def test_a_part_is_read_from_a_key_frame_near_it_not_from_the_start(source):
    with open_film(str(source), None) as film:
        decoded = []
        film._prepared = lambda frame, prepared=film._prepared: decoded.append(frame.pts) or prepared(frame)
        list(FilmPart(film, Fraction(3), Fraction(1, 5)).pictures())
    assert 5 <= len(decoded) < 20


def test_what_ends_before_is_refused(source):
    with open_film(str(source), None) as film, pytest.raises(MediaError, match="ends before 60 s"):
        FilmPart(film, Fraction(60), None)


def test_slow_motion_is_as_many_times_longer_at_the_same_rate(source, tmp_path):
    make(source, tmp_path / "out.mkv", slow=2, times=2)
    kinds, pictures = shown(tmp_path / "out.mkv")
    assert kinds == ["video"] and len(pictures) == 2 * COUNT - 1
    assert [time for time, _ in pictures] == pytest.approx([number / 25 for number in range(2 * COUNT - 1)], abs=0.002)
    assert [grey for _, grey in pictures[::2]] == pytest.approx(range(COUNT), abs=0.9)


@pytest.mark.slow
def test_slow_motion_is_the_same_by_several_processes(source, tmp_path):
    for processes in (1, 2):
        make(source, tmp_path / f"{processes}.mkv", slow=4, times=4, processes=processes)
    assert shown(tmp_path / "1.mkv") == shown(tmp_path / "2.mkv")


def test_a_part_of_slow_motion(source, tmp_path):
    make(source, tmp_path / "out.mkv", start=Fraction(2), duration=Fraction("0.4"), slow=2)
    _, pictures = shown(tmp_path / "out.mkv")
    assert [grey for _, grey in pictures[::2]] == pytest.approx(range(50, 60), abs=0.9) and pictures[-2][0] > 0.6
