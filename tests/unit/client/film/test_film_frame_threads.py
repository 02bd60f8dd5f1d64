"""A film decoded by threads for whole pictures is the film decoded picture by picture, whatever is wrong with it."""

from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path

import pytest

from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.frame_threads import by_frame_threads
from tests.unit.client.film.odd_films import damaged, drawings, film, with_changed_bits, with_empty_samples

THREADS = 3
SOUND = {
    "H.264 with B-frames.mp4": ("libx264", {"bf": "3"}),
    "H.264 without.mkv": ("libx264", {"bf": "0"}),
    "H.264 of several slices.mkv": ("libx264", {"slices": "4"}),
    "H.264 of open groups.mkv": ("libx264", {"x264-params": "open-gop=1"}),
    "H.265.mp4": ("libx265", {"x265-params": "log-level=none"}),
}
SAMPLES = 30


def made(path: Path, codec: str, options: dict[str, str]) -> Path:
    return film(path, codec, drawings(SAMPLES), options=options)


def read(path: Path, threads: int):
    """Each picture's time stamp, time and checksum, and what is told of the film."""
    with open_film_file(path) as opened:
        opened.decode_ahead(threads)
        pictures = [(picture.stamp, picture.time, picture.checksum()) for picture in opened.pictures()]
        return pictures, opened.warnings


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_film(tmp_path, name):
    path = made(tmp_path / name, *SOUND[name])
    pictures, warnings = read(path, THREADS)
    assert (len(pictures), warnings) == (SAMPLES, [])
    assert (pictures, warnings) == read(path, 1)


@pytest.mark.parametrize("name", SOUND)
def test_nothing_of_a_sound_film_is_decoded_twice(tmp_path, name):
    path = made(tmp_path / name, *SOUND[name])
    with open_film_file(path) as opened:
        first, slow = opened._first, opened._decoded
        with closing(by_frame_threads(path, 0, first, slow, THREADS)) as pictures:
            assert sum(1 for _ in pictures) == SAMPLES - 1
        assert sum(1 for _ in slow) == SAMPLES - 1  # nobody has asked for any


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize(("seed", "numbers"), [(0, (2,)), (1, (7, 20)), (2, (13,)), (3, (28, 29)), (4, (12, 13, 14))])
@pytest.mark.parametrize("spoilt", ["overwritten", "bad length", "bits"])
def test_a_damaged_film(tmp_path, name, seed, numbers, spoilt):
    path = made(tmp_path / name, *SOUND[name])
    path = with_changed_bits(path, numbers, seed) if spoilt == "bits" else damaged(path, numbers, spoilt)
    (here, warnings), (there, others) = read(path, THREADS), read(path, 1)
    # Where a decoder says nothing of damage, parts of a picture are what was in memory: times have to be the same.
    assert [each[:2] for each in here] == [each[:2] for each in there]
    assert warnings == others
    before = numbers[0] - 4  # samples lie in another order than they are shown in
    assert here[: max(before, 0)] == there[: max(before, 0)]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_film_with_samples_that_say_nothing_has_changed(tmp_path, codec):
    path = with_empty_samples(tmp_path / "in.avi", [4, 9, 10], codec)
    assert read(path, THREADS) == read(path, 1)


def test_it_can_be_left_off_at_any_picture(tmp_path):
    path = made(tmp_path / "in.mp4", *SOUND["H.264 with B-frames.mp4"])
    for count in (1, 2, SAMPLES // 2):
        with open_film_file(path) as opened:
            opened.decode_ahead(THREADS)
            assert len(list(itertools.islice(opened.pictures(), count))) == count
