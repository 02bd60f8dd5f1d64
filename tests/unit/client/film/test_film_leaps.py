"""Clocks that leap ahead on the way: holes of all tracks are closed, holes of one are not."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from eden_client.film.read.film_file import open_film_file
from eden_client.film.read.restarts import Leaps, streams_with_clock
from tests.unit.client.film.sound_films import RATE, Joiner, Sound, hear, write_source


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return Joiner(tmp_path_factory.mktemp("pictures"))


def recordings(folder, *offsets, ending=".ts"):
    """Recordings of a second by cat, each beginning at such a time of the clock."""
    parts = [
        write_source(folder / f"{number}{ending}", [Sound("mp2", pitch=440 + 110 * number)], offset=Fraction(offset))
        for number, offset in enumerate(offsets)
    ]
    (folder / f"in{ending}").write_bytes(b"".join(part.read_bytes() for part in parts))
    return folder / f"in{ending}"


@pytest.mark.parametrize(
    ("offsets", "told"),
    [
        ((0, 61), "1 (0:01:00.0)"),
        ((0, 3601), "1 (1:00:00.0)"),
        ((0, 61, 3661), "2 (1:00:59.0)"),
        ((5, 4000), "1 (1:06:34.0)"),
    ],
    ids=str,
)
def test_a_hole_of_all_tracks_is_closed_for_all_alike(joined, tmp_path, offsets, told):
    path = recordings(tmp_path, *offsets)
    with open_film_file(path) as film:
        times = [picture.time - film.start for picture in film.pictures()]
        assert film.warnings == [f"leaps of the clock closed, of pictures and sound alike: {told}"]
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert len(times) == 10 * len(offsets)
    assert all(step == 1 / RATE for number, step in enumerate(steps, 1) if number % 10)
    assert all(1 / RATE <= step <= Fraction(3, 20) for step in steps)  # no track may run back, so one waits a little
    assert joined(path, tmp_path / "out.mp4") == []
    heard = hear(tmp_path / "out.mp4")
    assert heard.end == pytest.approx(float(times[-1] + 1 / RATE), abs=0.1)
    for number in range(len(offsets)):
        middle = round((float(times[10 * number]) + 0.5) * heard.rate)
        part = heard.samples[0, middle - heard.rate // 4 : middle + heard.rate // 4]
        pitch = np.abs(np.fft.rfft(part * np.hanning(part.size))).argmax() * heard.rate / part.size
        assert pitch == pytest.approx(440 + 110 * number, abs=5)


@pytest.mark.parametrize(("offsets", "length"), [((0, 5), 6), ((0, 0), 2)], ids=str)
def test_short_holes_stay_and_clocks_that_start_anew_are_no_leap(tmp_path, offsets, length):
    with open_film_file(recordings(tmp_path, *offsets)) as film:
        times = [picture.time - film.start for picture in film.pictures()]
        assert not any("leaps" in note for note in film.warnings)
    assert float(times[-1]) == pytest.approx(length, abs=0.15)


def packets(stamps):
    """Packets of a track of pictures and one of sound: (track, seconds) each, of a tenth of a second."""
    container = av.open("/dev/null", "w", format="mpegts")
    tracks = [container.add_stream("mpeg2video", rate=10), container.add_stream("mp2", rate=48_000)]
    made = []
    for track, seconds in stamps:
        packet = av.Packet(b"x")
        packet.stream, packet.time_base = tracks[track], Fraction(1, 10)
        packet.pts = packet.dts = round(seconds * 10)
        packet.duration = 1
        made.append(packet)
    return made


BOTH = [(track, Fraction(number, 10)) for number in range(100) for track in (0, 1)]
CASES = {
    "both leap": (BOTH + [(track, time + 50) for track, time in BOTH], 1, 40),
    "sound first": (BOTH + [(1, Fraction(60))] + [(track, time + 60) for track, time in BOTH], 1, 50),
    "sound goes on": (
        BOTH + [(1, 10 + Fraction(n, 10)) for n in range(300)] + [(0, Fraction(40)), (1, Fraction(40))],
        0,
        0,
    ),
    "one strays": ([*BOTH[:100], (0, Fraction(4000)), *BOTH[100:]], 0, 0),
    "one strays at the end": ([*BOTH, (0, Fraction(4000))], 0, 0),
    "back, and on": (BOTH + [(track, time + 3000) for track, time in BOTH] + BOTH, 1, 2990),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_a_leap(name):
    stamps, count, closed = CASES[name]
    leaps = Leaps()
    moved = list(leaps.without(packets(stamps)))
    assert (leaps.count, leaps.closed) == (count, closed) and len(moved) == len(stamps)
    if count:
        for track in (0, 1):
            times = [packet.dts for packet in moved if packet.stream_index == track][:200]
            assert all(0 < after - before <= 2 for before, after in itertools.pairwise(times) if name != "sound first")


def test_other_containers_mean_what_they_say(tmp_path):
    path = write_source(tmp_path / "film.mkv", [Sound("aac")])
    with av.open(path) as container:
        assert streams_with_clock(container) == []
