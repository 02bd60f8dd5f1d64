"""How a run is told: on a terminal, in lines, to machines."""

from __future__ import annotations

import io
import json
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from eden_client.cli import reports
from eden_client.cli.reports import Bar, Json, JsonLines, Lines
from eden_client.film.order import Summary

NAME = "[subs] a film [/x].mkv"
"""Brackets mean colours to the library that draws the bar."""


def summary(target=NAME):
    seconds = {"total": 2.0, "to_first_frame": 0.5, "to_first_new_frame": 0.8}
    return Summary("in.mkv", target, 5, 9, seconds=seconds, repeated={"cut": 1})


def test_a_bar_shows_frames_rate_and_time_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(reports, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=120))
    bar.begin(NAME, 40, 0)
    bar.note(f"something about {NAME}")
    for frames in (5, 10):
        clock[0] += 5
        time.sleep(0.02)  # the library guesses what is left by a clock of its own, which has to have moved
        bar.progress(frames, "server", True)
    bar._progress.refresh()
    shown = screen.getvalue()
    assert shown.count(NAME) >= 2
    assert "10/40" in shown and " 1.0 frames/s, limited by the server" in shown and "0:00:" in shown
    bar.done(summary())
    firsts = "the first after 0.5 s, the first new one after 0.8 s"
    assert f"{NAME}: 9 frames from 5 in 2.0 s (4.5 per second, {firsts}, 1 at a cut)" in screen.getvalue()


def test_lines_tell_the_limit_so_far(capsys):
    lines = Lines()
    lines.begin(NAME, 9, 0)
    for limit in (None, "reading"):
        lines._next = 0  # it is time for another
        lines.progress(4, limit, True)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "4 of about 9 frames",
        "4 of about 9 frames, limited by reading",
    ]


@pytest.mark.parametrize(
    ("limit", "target", "hint"),
    [
        ("server", "out.mkv", "limited by the server: more workers or GPUs there, or more calls at once (--window)"),
        ("encoding", "out.mkv", "limited by encoding: a faster --preset"),
        ("encoding", "-", "limited by whatever reads the frames from standard output (90% of its time at work)"),
        ("reading", "-", "limited by reading INPUT: "),
    ],
)
def test_the_end_tells_the_limit_and_what_helps(capsys, limit, target, hint):
    busy = {"reading": 0.1, "server": 0.1, "encoding": 0.1} | {limit: 0.9}
    Lines().done(Summary("in.mkv", target, 5, 9, seconds={"total": 2.0}, busy=busy, limit=limit))
    first, second = capsys.readouterr().err.splitlines()
    assert (
        first.startswith(f"{target}: 9 frames")
        and second.startswith(hint)
        and second.endswith("(90% of its time at work)")
    )


def test_a_run_that_found_everything_done_tells_of_no_first_frame(capsys):
    Lines().done(Summary("in.mkv", "out.mkv", 5, 9, resumed_at=9, seconds={"total": 2.0}))
    assert "out.mkv: 9 frames from 5 in 2.0 s (0.0 per second)" in capsys.readouterr().err


def test_lines_tell_begin_notes_and_end(capsys):
    lines = Lines()
    lines.begin(NAME, 9, 4)
    lines.note("odd")
    lines.done(summary())
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"{NAME}: 4 of about 9 frames were made already"
    assert told[1] == "note: odd" and "9 frames from 5" in told[2]


@pytest.mark.parametrize("target", ["out.mkv", "-"])
def test_json_stays_out_of_the_way_of_a_film_on_standard_output(capsys, target):
    Json(target).done(summary(target))
    Json(target).failed("no", "no")
    out, err = capsys.readouterr()
    told = out if target != "-" else err
    done, *_, failed = (line for line in told.splitlines() if line.startswith("{"))
    assert json.loads(done)["frames_out"] == 9 and json.loads(done)["limit"] is None
    assert json.loads(failed) == {"error": "no"}
    assert target != "-" or not out


def test_json_lines_tell_all_that_happens(capsys, monkeypatch):
    monkeypatch.setattr(reports, "time", SimpleNamespace(monotonic=lambda: 100.0))
    report = JsonLines("out.mkv")
    report.begin(NAME, 9, 4)
    report.note("odd")
    report.progress(5, "server", False)
    report.progress(6, "server", False)  # too soon after the one before
    report.progress(7, "server", True)
    report.progress(8, "server", True)
    report.done(summary())
    report.failed("it failed: no; go on", "no")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in told] == ["begin", "note", "progress", "progress", "done", "failed"]
    assert told[0] == {"event": "begin", "source": NAME, "expected": 9, "frames": 4}
    assert [(each["frames"], each["drawn"]) for each in told[2:4]] == [(5, False), (7, True)]
    assert (told[4]["frames_out"], told[5]["reason"]) == (9, "no")
