"""Ranges of a film, read by others than its planner: the pictures that were planned, whatever the file holds."""

from __future__ import annotations

import shutil
from fractions import Fraction

import numpy as np
import pytest

from eden_client.film.jobs import PlannedPicture
from eden_client.film.read.film_file import FilmFile
from eden_client.film.read.range_reader import RangeReader
from eden_client.film.read.sources import LocalSource, identity, open_film
from media import MediaError
from tests.unit.client.film.odd_films import damaged, drawings, film, with_changed_bits

pytestmark = pytest.mark.slow

RANGES = [(20, 24), (6, 18), (0, 4), (14, 24)]


def planned(path, rate=None):
    """Every picture as the plan knows it, and its pixels."""
    plan, pixels = [], []
    with open_film(str(path), rate) as source:
        for number, picture in enumerate(source.pictures()):
            picture.number = number
            plan.append(PlannedPicture.of(picture))
            pixels.append(picture.pixels)
    return plan, pixels


def read(path, was, plan, *ranges, rate=None):
    """The pictures of each range, one range after the other by the same reader."""
    reader = RangeReader(LocalSource(str(path), was, rate, False))
    try:
        return [picture for start, stop in ranges for picture in reader.read(plan[start:stop])]
    finally:
        reader.close()


CODECS = [
    ("libx264", ".mp4", {}),
    ("libx264", ".mkv", {"x264-params": "slices=4"}),
    ("libx265", ".mp4", {"x265-params": "log-level=none"}),
    ("mpeg4", ".mkv", {}),
]


@pytest.mark.parametrize(("codec", "ending", "options"), CODECS, ids=str)
@pytest.mark.parametrize("numbers", [[], [5], [12], [3, 8, 23]], ids=str)
def test_past_damage_a_range_has_the_pictures_of_the_whole(tmp_path, codec, ending, options, numbers):
    path = damaged(film(tmp_path / f"film{ending}", codec, options=options), numbers)
    plan, pixels = planned(path)
    found = read(path, identity(str(path)), plan, *RANGES)
    wanted = [each for start, stop in RANGES for each in plan[start:stop]]
    assert [(each.number, each.time) for each in found] == [(each.number, each.time) for each in wanted]
    assert all(np.array_equal(each.pixels, pixels[each.number]) for each in found)


@pytest.mark.parametrize(
    ("codec", "ending", "options"), [*CODECS, ("mpeg2video", ".mkv", {}), ("libvpx", ".webm", {})], ids=str
)
def test_damage_that_no_error_tells_of_does_not_end_a_film(tmp_path, codec, ending, options):
    """What is missing in such a picture is whatever was in memory: each reading may find something else."""
    whole = film(tmp_path / f"film{ending}", codec, drawings(24, (288, 512)), options=options)
    for seed in range(3):
        path = with_changed_bits(whole, (1, 4, 7, 10, 14, 17), seed)
        plan, _ = planned(path)
        ranges = (12, len(plan)), (0, 4), (6, len(plan))
        found = read(path, identity(str(path)), plan, *ranges)
        assert [each.number for each in found] == [number for each in ranges for number in range(*each)]


def test_a_range_that_begins_with_the_end_of_another_is_read_on(tmp_path, monkeypatch):
    path = film(tmp_path / "film.mp4")
    plan, pixels = planned(path)
    monkeypatch.setattr(FilmFile, "seek", lambda *_: pytest.fail("decoded from a key frame"))
    ranges = (0, 7), (6, 18), (17, 20), (21, 24)
    found = read(path, identity(str(path)), plan, *ranges)
    assert [each.number for each in found] == [number for each in ranges for number in range(*each)]
    assert all(np.array_equal(each.pixels, pixels[each.number]) for each in found)


def test_another_film_of_the_same_name_and_times_is_refused(tmp_path):
    path = film(tmp_path / "film.mp4")
    plan, _ = planned(path)
    was = identity(str(path))
    shutil.copy(film(tmp_path / "other.mp4", frames=drawings(30)[6:]), path)
    with pytest.raises(MediaError, match=r"film\.mp4: it has changed since the film was begun"):
        read(path, was, plan, (6, 18))


def test_a_film_that_was_touched_is_still_the_same(tmp_path):
    """Also where it is read from its start: without time stamps, nobody can jump."""
    path, rate = film(tmp_path / "film.h264"), Fraction(24)
    plan, _ = planned(path, rate)
    was = identity(str(path))
    path.touch()
    assert identity(str(path)) != was and {each.stamp for each in plan} == {None}
    found = read(path, was, plan, (14, 24), (6, 18), rate=rate)
    assert [each.number for each in found] == [*range(14, 24), *range(6, 18)]
