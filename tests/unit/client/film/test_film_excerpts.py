"""What travels of a source with a segment: the bytes that a node needs to read the same pictures, and few others."""

from __future__ import annotations

import numpy as np
import pytest

from eden_client.film.cluster.excerpts import (
    FileExcerpts,
    FileOpened,
    Ranges,
)
from eden_client.film.jobs import PlannedPicture, SegmentJob
from eden_client.film.read.range_reader import RangeReader
from eden_client.film.read.sources import open_film
from tests.unit.client.film.odd_films import drawings, film

COUNT = 240
KEY_EVERY = "24"
FORMATS = [
    ("libx264", ".mp4", {"g": KEY_EVERY, "bf": "3"}),
    ("libx264", ".mkv", {"g": KEY_EVERY, "bf": "3"}),
    ("libx264", ".ts", {"g": KEY_EVERY}),
    ("libx265", ".mov", {"g": KEY_EVERY, "x265-params": "log-level=none"}),
    ("libvpx-vp9", ".webm", {"g": KEY_EVERY, "deadline": "realtime", "cpu-used": "8"}),
    ("mpeg4", ".avi", {"g": KEY_EVERY, "bf": "2"}),
    ("ffv1", ".mkv", {}),
    ("prores_ks", ".mov", {}),
]
RANGES = [(0, 24), (30, 60), (101, 149), (215, 240)]


def planned(path, rate=None):
    """The film, every picture as the plan knows it, and its pixels; what takes excerpts of it."""
    plan, pixels = [], []
    with open_film(str(path), rate) as opened:
        for number, picture in enumerate(opened.pictures()):
            picture.number = number
            plan.append(PlannedPicture.of(picture))
            pixels.append(picture.pixels)
        known = opened.known() if path.is_file() else None
        return opened, known, plan, pixels


def job(plan, start, stop):
    return SegmentJob(0, tuple(plan[start:stop]), ())


def assert_read(source, wanted, pixels):
    reader = RangeReader(source)
    try:
        found = list(reader.read(wanted))
    finally:
        reader.close()
    assert [(each.number, each.time) for each in found] == [(each.number, each.time) for each in wanted]
    assert all(np.array_equal(each.pixels, pixels[each.number]) for each in found)


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "ending", "options"), FORMATS, ids=str)
def test_every_picture_of_a_range_comes_of_its_excerpt_alone(tmp_path, codec, ending, options):
    path = film(tmp_path / f"film{ending}", codec, frames(), options=options)
    _, known, plan, pixels = planned(path)
    excerpts = FileExcerpts(path, known, None, False)
    for start, stop in RANGES:
        excerpt = excerpts.cut(job(plan, start, stop))
        ranges = Ranges(known, [*excerpts.head, *excerpt.ranges])
        assert_read(FileOpened(known, None, False, ranges.open), plan[start:stop], pixels)
        assert not ranges.missed
        print(
            codec,
            start,
            known.size,
            sum(len(data) for _, data in excerpt.ranges),
            sum(len(data) for _, data in excerpts.head),
        )


def frames():
    noise = np.random.default_rng(3).integers(0, 60, (COUNT, 64, 96, 3))  # so that pictures take bytes
    return list(((np.stack(drawings(COUNT, (64, 96))) + noise) % 256).astype(np.uint8))
