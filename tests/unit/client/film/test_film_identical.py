"""A film has the same bytes, however many segments are made at once, and however often a run was cut short."""

from __future__ import annotations

import itertools
import json
import random
from fractions import Fraction

import av
import numpy as np
import pytest

from eden_client.api.traffic import Traffic
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from eden_client.film.write import budget
from media import encode_video

COUNT = 60


class Gone(Exception):
    """The run ends here."""


class Drawing:
    """In a server's place: blends two frames; goes away before the pair number `lasts`."""

    window, seed = 3, 0

    def __init__(self, lasts: int | None = None) -> None:
        self.traffic, self.pairs, self.lasts = Traffic(), itertools.count(), lasts

    def between(self, frames):
        for left, right in itertools.pairwise(frames):
            if self.lasts is not None and next(self.pairs) >= self.lasts:
                raise Gone
            yield ((left.astype(int) + right) // 2).astype(np.uint8)


class Silent:
    def begin(self, source, expected, done): ...

    def note(self, text): ...

    def progress(self, frames): ...


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    random_ = np.random.default_rng(1)
    base = random_.integers(0, 255, (48, 64 + COUNT, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("films") / "in.mp4"
    encode_video([np.ascontiguousarray(base[:, i : i + 64]) for i in range(COUNT)], Fraction(25), path)
    return path


def make(source, target, lasts=None, **wishes):
    order = Order(str(source), str(target), cuts=None, duplicates="off", **wishes)
    return interpolate_film(order, Drawing(lasts), Silent())


def packets(path):
    """All that is coded, with its times; Matroska's writer puts a random number into the file's head."""
    with av.open(path) as film:
        return [(each.pts, each.dts, each.duration, bytes(each)) for each in film.demux() if each.size]


CODECS = [("mp4", "h264"), ("mp4", "hevc"), ("webm", "vp9"), ("mkv", "av1"), ("mov", "prores"), ("mkv", "ffv1")]


@pytest.mark.parametrize(("ending", "codec"), CODECS)
def test_however_many_cores(source, tmp_path, monkeypatch, ending, codec):
    films = []
    for cores in (1, 4):
        monkeypatch.setattr(budget, "cores", lambda cores=cores: cores)
        target = tmp_path / f"{cores}.{ending}"
        make(source, target, codec=codec)
        films.append(packets(target))
    assert films[0] == films[1] and len(films[0]) == 2 * COUNT - 1


def test_however_often_it_was_interrupted(source, tmp_path):
    make(source, tmp_path / "whole.mp4")
    whole = (tmp_path / "whole.mp4").read_bytes()
    moments = random.Random(2)
    for moment in range(10):
        target = tmp_path / f"{moment}.mp4"
        with pytest.raises(Gone):
            make(source, target, lasts=moments.randrange(COUNT - 1))
        summary = make(source, target, resume=True)
        assert target.read_bytes() == whole and summary.frames_out == 2 * COUNT - 1
        assert not target.with_name(target.name + ".parts").exists()


def test_segments_that_are_missing_in_the_middle_are_made(source, tmp_path):
    make(source, tmp_path / "whole.mp4")
    with pytest.raises(Gone):
        make(source, tmp_path / "out.mp4", lasts=COUNT - 2)
    parts = tmp_path / "out.mp4.parts"
    journal = (parts / "journal.json").read_text()
    assert '"number": 1,' in journal
    told = json.loads(journal)
    told["segments"] = [each for each in told["segments"] if each["number"] != 1]
    (parts / "journal.json").write_text(json.dumps(told))
    summary = make(source, tmp_path / "out.mp4", resume=True)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert 0 < summary.resumed_at < summary.frames_out
