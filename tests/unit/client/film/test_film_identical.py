"""A film has the same bytes, however many segments are made at once, and however often a run was cut short."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest

from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from eden_client.film.write import budget
from media import encode_video
from tests.unit.client.film.drawing import Drawing, Gone, Sharing, Silent

pytestmark = pytest.mark.slow

COUNT = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    random_ = np.random.default_rng(1)
    base = random_.integers(0, 255, (48, 64 + COUNT, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("films") / "in.mp4"
    encode_video([np.ascontiguousarray(base[:, i : i + 64]) for i in range(COUNT)], Fraction(25), path)
    return path


def make(source, target, lasts=None, report=None, killed=None, noted=None, **wishes):
    order = Order(str(source), str(target), **{"cuts": None, "duplicates": "off"} | wishes)
    return interpolate_film(order, Drawing(lasts), report or Silent(), partial(Drawing, lasts, killed, noted))


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


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"clip": 5, "times": 4},
        {"fps": Fraction(60)},
        {"duplicates": "skip", "cuts": 0.6},
        {"compare": True},
    ],
    ids=str,
)
def test_however_many_processes(source, tmp_path, wishes):
    told = []
    for processes in (1, 3):
        summary = make(source, tmp_path / f"{processes}.mp4", processes=processes, **wishes)
        told.append((summary.frames_in, summary.frames_out, summary.repeated, summary.traffic["pairs"]))
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "3.mp4").read_bytes()
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["out.gif", "shots/%03d.png"])
def test_results_of_every_kind_by_processes(source, tmp_path, name):
    seen = []
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        target = tmp_path / str(processes) / name
        make(source, target, processes=processes, fps=Fraction(50))
        files = sorted((tmp_path / str(processes)).rglob("*.*"))
        seen.append([(path.name, path.read_bytes()) for path in files if path.is_file()])
    assert seen[0] == seen[1] and len(seen[0]) == (1 if name.endswith("gif") else 2 * COUNT)


def test_a_killed_process_costs_nothing_but_time(source, tmp_path):
    make(source, tmp_path / "whole.mp4")
    report = Silent()
    make(source, tmp_path / "out.mp4", processes=2, killed=tmp_path, report=report)
    assert (tmp_path / "by whom").exists()
    assert report.notes == ["a process that made a segment was lost (signal 9); another makes it"]
    assert report.frames == 2 * COUNT - 1
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_processes_that_are_gone_leave_a_film_that_can_be_resumed(source, tmp_path):
    make(source, tmp_path / "whole.mp4")
    with pytest.raises(Gone) as raised:
        journal = tmp_path / "out.mp4.parts" / "journal.json"
        make(source, tmp_path / "out.mp4", lasts=20, processes=2, noted=journal)
    left = raised.value.__cause__
    assert left.frames >= 12 and left.part.exists()
    make(source, tmp_path / "out.mp4", processes=2, resume=True)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("lasts", [None, 12], ids=["to its end", "cut short"])
def test_processes_leave_nothing_in_shared_memory(source, tmp_path, lasts):
    shared = tmp_path / "regions"
    shared.mkdir()
    order = Order(str(source), str(tmp_path / "out.mp4"), cuts=None, duplicates="off", processes=2)
    with pytest.raises(Gone) if lasts else nullcontext():
        interpolate_film(order, Drawing(), Silent(), partial(Sharing, shared, lasts))
    assert (tmp_path / "shared").exists() and not list(shared.iterdir())
