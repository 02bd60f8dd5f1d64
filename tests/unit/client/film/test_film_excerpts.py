"""What travels of a source with a segment: the bytes that a node needs to read the same pictures, and few others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from eden_client.film.cluster.excerpts import (
    FileExcerpts,
    FileOpened,
    ImageExcerpts,
    ImagesOpened,
    Pieces,
    Ranges,
)
from eden_client.film.jobs import PlannedPicture, SegmentJob
from eden_client.film.read.range_reader import RangeReader
from eden_client.film.read.sources import open_film
from media import MediaError, encode_image
from tests.unit.client.film.odd_films import cropped, drawings, film

pytestmark = pytest.mark.slow

COUNT = 240
G = {"g": "24"}
FORMATS = [
    ("libx264", ".mp4", G | {"bf": "3"}),
    ("libx264", ".mkv", G | {"bf": "3"}),
    ("libx265", ".mov", G | {"x265-params": "log-level=none"}),
    ("libvpx-vp9", ".webm", G | {"deadline": "realtime", "cpu-used": "8"}),
    ("mpeg4", ".avi", G | {"bf": "2"}),
    ("ffv1", ".mkv", {}),
]
RANGES = [(0, 24), (30, 60), (101, 149), (215, 240)]


@pytest.fixture(scope="module")
def noisy():
    """Pictures that take some bytes."""
    noise = np.random.default_rng(3).integers(0, 60, (COUNT, 64, 96, 3))
    return list(((np.stack(drawings(COUNT, (64, 96))) + noise) % 256).astype(np.uint8))


def planned(path, rate=None):
    """What is known of the film, every picture as the plan knows it, and its pixels."""
    plan, pixels = [], []
    with open_film(str(path), rate) as opened:
        for number, picture in enumerate(opened.pictures()):
            picture.number = number
            plan.append(PlannedPicture.of(picture))
            pixels.append(picture.pixels)
        return opened.known(), plan, pixels


def job(plan, start, stop):
    return SegmentJob(0, tuple(plan[start:stop]), ())


def read(source, wanted):
    reader = RangeReader(source)
    try:
        return list(reader.read(wanted))
    finally:
        reader.close()


def assert_same(found, wanted, pixels):
    assert [(each.number, each.time) for each in found] == [(each.number, each.time) for each in wanted]
    assert all(np.array_equal(each.pixels, pixels[each.number]) for each in found)


@pytest.mark.parametrize(("codec", "ending", "options"), FORMATS, ids=str)
def test_every_picture_of_a_range_comes_of_its_excerpt_alone(tmp_path, noisy, codec, ending, options):
    path = film(tmp_path / f"film{ending}", codec, noisy, options=options)
    known, plan, pixels = planned(path)
    excerpts = FileExcerpts(path, known, None, False)
    for start, stop in RANGES:
        excerpt = excerpts.cut(job(plan, start, stop))
        ranges = Ranges(known, [*excerpts.head, *excerpt.ranges])
        assert_same(read(FileOpened(known, None, False, ranges.open), plan[start:stop]), plan[start:stop], pixels)
        assert not ranges.missed
        assert sum(len(data) for _, data in excerpt.ranges) < 0.65 * known.size


def test_what_the_file_says_of_its_pictures_comes_too(tmp_path):
    path = cropped(tmp_path / "film.mkv", 4, 2, 6, 8)
    known, plan, pixels = planned(path)
    excerpts = FileExcerpts(path, known, None, False)
    excerpt = excerpts.cut(job(plan, 1, 4))
    ranges = Ranges(known, [*excerpts.head, *excerpt.ranges])
    found = read(FileOpened(known, None, False, ranges.open), plan[1:4])
    assert found[0].size == (38, 54)
    assert_same(found, plan[1:4], pixels)


def test_an_excerpt_that_does_not_do_says_so_and_the_whole_file_does(tmp_path, noisy):
    """In a transport stream a jump may lead behind the picture: then it is read from its start."""
    path = film(tmp_path / "film.ts", "libx264", noisy, options=G)
    known, plan, pixels = planned(path)
    excerpts, wanted = FileExcerpts(path, known, None, False), plan[101:149]
    excerpt = excerpts.cut(job(plan, 101, 149))
    ranges = Ranges(known, [*excerpts.head, *excerpt.ranges])
    with pytest.raises(MediaError, match="was not sent to this node"):
        read(FileOpened(known, None, False, ranges.open), wanted)
    assert ranges.missed
    data, fetched = path.read_bytes(), []

    def fetch(number):
        fetched.append(number)
        return data[number * 5000 : (number + 1) * 5000]

    assert_same(read(FileOpened(known, None, False, Pieces(known, 5000, fetch).open), wanted), wanted, pixels)
    assert len(set(fetched)) > 20


def test_a_stream_without_time_stamps_has_no_excerpts(tmp_path):
    path = film(tmp_path / "film.h264", frames=drawings(100))
    known, plan, _ = planned(path, Fraction(24))
    assert FileExcerpts(path, known, Fraction(24), False).cut(job(plan, 60, 80)) is None


def test_numbered_pictures_travel_as_they_are(tmp_path):
    """Also where several have one name."""
    for number, pixels in enumerate(drawings(30)):
        folder = tmp_path / f"{number:02d}"
        folder.mkdir()
        (folder / "1.png").write_bytes(encode_image(pixels, "png"))
    plan, pixels = [], []
    with open_film(str(tmp_path / "*" / "1.png"), None) as images:
        for number, picture in enumerate(images.pictures()):
            picture.number = number
            plan.append(PlannedPicture.of(picture))
            pixels.append(picture.pixels)
        excerpt = ImageExcerpts(images).cut(job(plan, 12, 20))
        assert excerpt.first == 12 and len(excerpt.files) == 8
        assert_same(read(ImagesOpened(images.name, images.look, excerpt), plan[12:20]), plan[12:20], pixels)
