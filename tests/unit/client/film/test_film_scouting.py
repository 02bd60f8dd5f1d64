"""A film that scouts compare is the film that is compared in its order, whatever is wrong with it."""

from __future__ import annotations

from concurrent.futures import Future, wait
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from eden_client.film import run
from eden_client.film.cluster.excerpts import FileExcerpt, StretchExcerpts
from eden_client.film.cluster.node_task import look_at
from eden_client.film.local_processes import LocalProcesses
from eden_client.film.order import Order
from eden_client.film.plan.differences import Step, steps
from eden_client.film.plan.scouting import ScoutedPicture, ScoutJob, _Asked, scouted_steps
from eden_client.film.read import intact
from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.intact import Doubtful, Stretch, frames_of, stretches
from eden_client.film.run import interpolate_film
from tests.unit.client.film.drawing import Deadly, Drawing, Silent
from tests.unit.client.film.odd_films import damaged, drawings, film, with_changed_bits, with_empty_samples

SAMPLES, GROUP = 60, 12
CLOSED = {
    "H.264 with B-frames.mp4": ("libx264", {"bf": "3"}),
    "H.264 without.mkv": ("libx264", {"bf": "0"}),
    "H.264 of several slices.mkv": ("libx264", {"slices": "4"}),
    "H.265.mp4": ("libx265", {"x265-params": "log-level=none:open-gop=0:scenecut=0"}),
}
OTHERS = {
    "H.264 of open groups.mkv": ("libx264", {"x264-params": "open-gop=1"}),
    "H.265 of open groups.mp4": ("libx265", {"x265-params": "log-level=none:open-gop=1"}),
    "H.264 in a stream.ts": ("libx264", {}),
    "MPEG-4.mp4": ("mpeg4", {}),
    "H.264, twice as fine.mkv": ("libx264", {"profile": "high10"}),
}


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    monkeypatch.setattr(intact, "SHORTEST", GROUP)


def made(path: Path, codec: str, options: dict[str, str], held: int = 1) -> Path:
    """A film of drawings, each shown `held` times, with a key frame in twelve."""
    path.write_bytes(encoded(path.suffix, codec, tuple(options.items()), held))
    return path


@cache
def encoded(suffix: str, codec: str, options: tuple[tuple[str, str], ...], held: int) -> bytes:
    pixel_format = "yuv420p10le" if ("profile", "high10") in options else "yuv420p"
    frames = [each for each in drawings(SAMPLES // held) for _ in range(held)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        film(path, codec, frames, pixel_format, {"g": str(GROUP), "sc_threshold": "0"} | dict(options))
        return path.read_bytes()


def at_once(job: ScoutJob) -> Future:
    future = Future()
    try:
        future.set_result(job.run())
    except Exception as error:
        future.set_exception(error)
    return future


def compared(path: Path, scout=None, ahead: int = 3):
    """What is found of each picture, how many of them scouts saw, and what is told of the film."""
    with open_film_file(path) as opened:

        def pictures():
            for number, picture in enumerate(opened.pictures()):
                picture.number = number
                yield picture

        found = steps(pictures(), True, True)
        if scout:
            found = scouted_steps(opened, found, scout, ahead, True, True)
        seen = list(found)
        shown = [each.picture for each in seen]
        told = [
            (picture.number, picture.time, picture.stamp, picture.checksum(), each.difference, each.same)
            for picture, each in zip(shown, seen, strict=True)
        ]
        return told, opened.warnings, sum(isinstance(picture, ScoutedPicture) for picture in shown)


@pytest.mark.parametrize("ahead", [1, 3, 20])
@pytest.mark.parametrize("name", CLOSED)
def test_an_intact_film(tmp_path, name, ahead):
    path = made(tmp_path / name, *CLOSED[name], held=2)
    told, warnings, scouted = compared(path, at_once, ahead)
    assert (told, warnings, 0) == compared(path)
    assert len(told) == SAMPLES and 0 < sum(same for *_, same in told) < SAMPLES
    assert scouted == SAMPLES - GROUP - 1  # all but what came before the second stretch, and that one's first


@pytest.mark.parametrize("name", OTHERS)
def test_a_film_that_cannot_be_decoded_in_stretches(tmp_path, name):
    path = made(tmp_path / name, *OTHERS[name])
    told, warnings, scouted = compared(path, at_once)
    assert (told, warnings, 0) == compared(path)
    assert len(told) == SAMPLES and scouted == 0


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(("seed", "numbers"), [(0, (2,)), (1, (17, 40)), (2, (36,)), (3, (58, 59)), (4, (24, 25, 26))])
@pytest.mark.parametrize("spoilt", ["overwritten", "bad length", "bits"])
def test_a_damaged_film(tmp_path, name, seed, numbers, spoilt):
    path = made(tmp_path / name, *CLOSED[name])
    if spoilt == "bits" and "H.265" in name:  # whose other samples are too small for that
        numbers = sorted({number - number % GROUP for number in numbers})
    path = with_changed_bits(path, numbers, seed) if spoilt == "bits" else damaged(path, numbers, spoilt)
    (here, warnings, _), (there, others, _) = compared(path, at_once), compared(path)
    # Where a decoder says nothing of damage, parts of a picture are what was in memory: times have to be the same.
    assert [each[:3] for each in here] == [each[:3] for each in there]
    assert warnings == others
    before = max(0, numbers[0] - 4)  # samples lie in another order than they are shown in
    assert here[:before] == there[:before]


def test_a_film_whose_samples_say_that_nothing_has_changed(tmp_path):
    path = with_empty_samples(tmp_path / "in.avi", [4, 9, 10], "libx264")
    assert compared(path, at_once)[:2] == compared(path)[:2]


def test_scouts_that_are_slow_are_not_waited_for(tmp_path):
    path = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"])
    assert compared(path, lambda job: Future()) == compared(path)


@pytest.mark.parametrize("ahead", [1, 2])
def test_no_more_stretches_are_scouted_at_once_than_is_said(tmp_path, ahead):
    path, asked = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"]), []
    with open_film_file(path) as opened:

        def here():
            for number, picture in enumerate(opened.pictures()):
                picture.number = number
                yield Step(picture)

        for step in scouted_steps(opened, here(), lambda job: asked.append(job) or Future(), ahead, True, True):
            passed = max(0, step.picture.number - 2) // GROUP
            assert len(asked) == min(SAMPLES // GROUP - 1, ahead + passed)
    assert len(asked) == SAMPLES // GROUP - 1


def test_scouts_that_are_late_tell_the_rest(tmp_path):
    path, asked = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"]), []

    def after_two(job: ScoutJob) -> Future:
        asked.append(job)
        return at_once(job) if len(asked) > 2 else Future()

    told, warnings, scouted = compared(path, after_two)
    assert (told, warnings, 0) == compared(path)
    assert scouted == SAMPLES - 3 * GROUP - 1


@pytest.mark.parametrize("lost", range(2, 5))
def test_a_scout_that_fails_costs_nothing_but_time(tmp_path, lost):
    path, asked = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"]), []

    def but_one(job: ScoutJob) -> Future:
        asked.append(job)
        future = Future()
        if len(asked) == lost:
            future.cancel()
            return future
        return at_once(job)

    told, warnings, scouted = compared(path, but_one, ahead=1)
    assert (told, warnings, 0) == compared(path)
    assert scouted == (lost - 1) * GROUP


def test_stretches_are_as_long_as_they_have_to_be_and_leave_nothing_out(tmp_path, monkeypatch):
    path = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"])
    with open_film_file(path) as opened:
        stamps = [picture.stamp for picture in opened.pictures()]
    keys = stamps[::GROUP]
    assert list(stretches(path, 0)) == [Stretch(*each) for each in zip(keys, [*keys[1:], None], strict=True)]
    monkeypatch.setattr(intact, "SHORTEST", GROUP + 1)
    longer = [Stretch(keys[0], keys[2]), Stretch(keys[2], keys[4]), Stretch(keys[4], None)]
    assert list(stretches(path, 0)) == longer
    ends = [keys[2], keys[4], stamps[-1]]
    for stretch, end in zip(longer, ends, strict=True):
        shown = [frame.pts for frame in frames_of(path, 0, stretch)]
        assert shown == [stamp for stamp in stamps if stretch.first <= stamp <= end]


@pytest.mark.parametrize("first", [1, 10**9])
def test_no_stretch_begins_but_with_a_key_frame(tmp_path, first):
    path = made(tmp_path / "in.mp4", *CLOSED["H.264 without.mkv"])
    with open_film_file(path) as opened:
        stamps = [picture.stamp for picture in opened.pictures()]
    with pytest.raises(Doubtful):
        list(frames_of(path, 0, Stretch(stamps[1] if first == 1 else first, None)))


@pytest.mark.parametrize("name", CLOSED)
def test_a_stretch_is_the_same_from_the_bytes_that_are_cut_for_it(tmp_path, name):
    """As on a node of a cluster, which has the head, cut with the first stretch, and a stretch's own."""
    path = made(tmp_path / name, *CLOSED[name])
    with open_film_file(path) as opened:
        known = opened.known()
    jobs = [ScoutJob(path, known.stream, each, known.look.size, True, True) for each in stretches(path, known.stream)]
    excerpts = StretchExcerpts(path, known)
    sent = [excerpts.cut(job) for job in jobs]
    film = known, excerpts.head
    assert len(jobs) == SAMPLES // GROUP
    for job, each in zip(jobs, sent, strict=True):
        assert look_at(film, job, each) == job.run()
    size, doubted = path.stat().st_size, 0
    for end in range(size // 8, size, size // 8):  # what lies behind it is missing
        there = [(start, data[: max(0, end - start)]) for start, data in excerpts.head]
        try:
            assert look_at((known, there), jobs[2], FileExcerpt([])) == jobs[2].run()
        except Doubtful:
            doubted += 1
    assert doubted


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_decoded_in_stretches_is_told_by_who_cuts_or_looks(tmp_path, name):
    path = made(tmp_path / name, *OTHERS[name])
    with open_film_file(path) as opened:
        known = opened.known()
    excerpts = StretchExcerpts(path, known)
    with pytest.raises(Doubtful):
        for stretch in stretches(path, known.stream):
            job = ScoutJob(path, known.stream, stretch, known.look.size, True, True)
            look_at((known, excerpts.head), job, excerpts.cut(job))


@pytest.fixture
def waited_for(monkeypatch):
    """Scouts are waited for, and a film is long enough for them."""
    monkeypatch.setattr(run, "SCOUTING", 3)
    ready = _Asked.are_ready

    def when_done(asked: _Asked, stamp: int) -> bool:
        if asked._pending and asked._pending[0][0].stretch.first == stamp:
            wait([asked._pending[0][1]])
        return ready(asked, stamp)

    monkeypatch.setattr(_Asked, "are_ready", when_done)


def doubled(source: Path, target: Path, processes: int):
    order = Order(str(source), str(target), processes=processes)
    return interpolate_film(order, Drawing(), Silent(), Drawing)


@pytest.mark.slow
def test_processes_make_the_same_film_with_scouts(tmp_path, monkeypatch, waited_for):
    source, scouted = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"], held=2), []
    begin = ScoutedPicture.__init__
    monkeypatch.setattr(ScoutedPicture, "__init__", lambda self, *told: (begin(self, *told), scouted.append(self))[0])
    scout, asked = LocalProcesses.scout, list[LocalProcesses]()
    monkeypatch.setattr(LocalProcesses, "scout", lambda self, job: (asked.append(self), scout(self, job))[1])
    summaries = [doubled(source, tmp_path / f"{processes}.mp4", processes) for processes in (1, 3)]
    assert asked and not asked[0]._asked, "what scouts have told is kept"
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "3.mp4").read_bytes()
    assert len({(each.frames_in, each.frames_out, str(each.repeated)) for each in summaries}) == 1
    assert summaries[0].frames_in == SAMPLES and len(scouted) == SAMPLES - GROUP - 1


@pytest.mark.slow
def test_a_process_that_is_lost_while_it_scouts_costs_nothing_but_time(tmp_path, monkeypatch, waited_for):
    source, killed = made(tmp_path / "in.mp4", *CLOSED["H.264 with B-frames.mp4"]), []
    scout = LocalProcesses.scout

    def deadly(processes: LocalProcesses, job: ScoutJob) -> Future:
        killed.append(job)
        return scout(processes, Deadly(**vars(job)) if len(killed) == 2 else job)

    monkeypatch.setattr(LocalProcesses, "scout", deadly)
    for processes in (1, 3):
        doubled(source, tmp_path / f"{processes}.mp4", processes)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "3.mp4").read_bytes()
    assert len(killed) >= 2
