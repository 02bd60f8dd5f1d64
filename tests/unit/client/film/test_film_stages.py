"""Which stage bounds a film's speed: by given numbers, and in films that one stage holds up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from eden_client import EdenClient
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from eden_client.film.stages import CLEAR, StageTimes, limit_of
from media import encode_video
from tests.unit.client.film.drawing import Drawing, Silent
from tests.unit.client.told import Told, between

SIZE = 128, 192


@pytest.mark.parametrize(
    ("busy", "limit"),
    [
        ({"reading": 0.1, "server": 0.97, "encoding": 0.5}, "server"),
        ({"reading": 0.99, "server": 0.98, "encoding": 0.2}, "reading"),
        ({"reading": 0.0, "server": 0.0, "encoding": CLEAR}, "encoding"),
        ({"reading": 0.0, "server": 0.0, "encoding": CLEAR - 0.01}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_busiest_is_the_limit_if_it_is_clearly_busy(busy, limit):
    assert limit_of(busy) == limit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_work_is_set_against_what_the_threads_could_do():
    clock = Clock()
    times = StageTimes(clock)
    times.begin("reading")
    times.begin("encoding", 2)
    times.begin("server")
    clock.now += 6
    times.begin("server", 3)  # 10 seconds of one, 4 seconds of each of three
    clock.now += 4
    times.add("reading", 1)
    times.add("reading", 2)
    times.add("encoding", 18)
    times.add("server", 11)
    assert times.busy() == {"reading": 0.3, "encoding": 0.9, "server": 0.5}
    assert times.seconds("reading", "encoding") == 21 and times.seconds("planning") == 0


def test_reading_is_as_busy_as_the_busier_of_planning_and_reading():
    clock = Clock()
    times = StageTimes(clock)
    times.begin("planning")
    times.begin("reading", 4)
    clock.now += 10
    times.add("planning", 8)
    times.add("reading", 8)
    assert times.busy() == {"reading": 0.8}


def test_a_stage_works_while_it_is_at_work_and_no_longer_and_is_taken_once():
    clock = Clock()
    times = StageTimes(clock)
    with times.at_work("server"):
        clock.now += 3
    clock.now += 5
    with pytest.raises(ValueError), times.at_work("server"):
        clock.now += 1
        raise ValueError
    assert times.taken() == {"server": 4} and times.taken() == {}


def test_nothing_is_busy_before_any_time_has_passed():
    times = StageTimes(Clock())
    times.begin("server")
    times.add("server", 1)
    assert times.busy() == {"server": 0}


# ---------------------------------------------------------------- real films


def write(path, count):
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[0], SIZE[1] + count, 3), np.uint8)
    encode_video([np.ascontiguousarray(noise[:, i : i + SIZE[1]]) for i in range(count)], Fraction(25), path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("films") / "in.mp4", 60)


def lazy(body: bytes, seconds: float = 0.1) -> bytes:
    """An answer of a server that takes its time for each request."""
    time.sleep(seconds)
    return between(body)


def make(source, target, client, connect, **wishes):
    report = Silent()
    order = Order(str(source), str(target), cuts=None, duplicates="off", **wishes)
    summary = interpolate_film(order, client, report, connect)
    assert summary.limit == limit_of(summary.busy) and set(summary.busy) == {"reading", "server", "encoding"}
    return summary, report


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_slow_preset_before_an_instant_server(source, tmp_path, processes):
    wishes = {"codec": "h264", "preset": "veryslow", "crf": 1, "processes": processes}
    summary, report = make(source, tmp_path / "out.mp4", Drawing(), Drawing, **wishes)
    assert summary.limit == report.limit == "encoding", summary.busy


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_server_that_takes_its_time(source, tmp_path, told: Told, processes):
    told.draw = lazy
    connect = partial(EdenClient, told.url, token="secret", window=4, transport="npy")
    with connect() as client:
        wishes = {"codec": "h264", "preset": "ultrafast", "processes": processes}
        summary, report = make(source, tmp_path / "out.mp4", client, connect, **wishes)
    assert summary.limit == report.limit == "server", summary.busy


@pytest.mark.slow
def test_a_source_that_comes_slowly(tmp_path, told: Told):
    command = [sys.executable, "-m", "eden_client", "-", str(tmp_path / "out.mp4"), "--json", "--preset", "ultrafast"]
    command += ["--codec", "h264", "--server", told.url, "--token", "secret", "--transport", "npy"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as process:
        process.stdin.write(b"YUV4MPEG2 W192 H128 F25:1 Ip A1:1 C420jpeg\n")
        for number in range(60):
            process.stdin.write(b"FRAME\n" + bytes([4 * number]) * (SIZE[0] * SIZE[1] * 3 // 2))
            process.stdin.flush()
            time.sleep(0.1)
        summary = json.loads(process.communicate(timeout=60)[0])
    assert summary["limit"] == "reading" and summary["frames_out"] == 119, summary["busy"]
