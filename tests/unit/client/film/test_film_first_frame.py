"""The film's own first frame is written while the server has not answered once; drawn ones as soon as they are next."""

from __future__ import annotations

import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from media import encode_video
from tests.unit.client.film.drawing import Drawing, Silent

pytestmark = pytest.mark.slow

SIZE = 32, 64
FRAMES = [np.full((*SIZE, 3), level, np.uint8) for level in range(0, 240, 20)]
WITHIN = 60
"""Seconds after which something has gone wrong."""


class HeldBack(Drawing):
    """Answers a call when it is told to."""

    def __init__(self, answers: int = 0) -> None:
        super().__init__()
        self.may_answer = threading.Semaphore(answers)

    def between(self, frames, yuv=None):
        assert self.may_answer.acquire(timeout=WITHIN)
        yield from super().between(frames)


class Counting(Silent):
    """Puts the number of frames that are written into a queue."""

    def __init__(self):
        super().__init__()
        self.written = queue.SimpleQueue()

    def progress(self, frames, limit, drawn):
        self.written.put(frames)


@pytest.fixture
def source(tmp_path):
    encode_video(FRAMES, Fraction(12), tmp_path / "in.mp4")
    return str(tmp_path / "in.mp4")


@pytest.fixture
def run():
    with ThreadPoolExecutor(1) as pool:
        yield partial(pool.submit, interpolate_film)


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "shots/%03d.png"])
def test_the_first_frame_is_written_before_the_first_answer(source, tmp_path, run, name):
    (tmp_path / "place").mkdir()
    client, report = HeldBack(), Counting()
    making = run(Order(source, str(tmp_path / "place" / name), fps=Fraction(50), cuts=None), client, report)
    assert report.written.get(timeout=WITHIN) == 1
    assert client.traffic.pairs == 0 and report.written.empty()
    client.may_answer.release(1000)
    summary = making.result()
    assert 0 < summary.seconds["to_first_frame"] < summary.seconds["to_first_new_frame"] < summary.seconds["total"]


def test_frames_go_down_the_pipe_one_by_one(source, monkeypatch, run):
    """60 a second of 12: of the first gap 1/4, 3/8, 5/8 and 3/4, which take two, one, two and no further answers."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as pipe, os.fdopen(theirs, "wb") as out:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        client, report = HeldBack(), Counting()
        client.window = 1
        making = run(Order(source, "-", fps=Fraction(60), cuts=None), client, report)
        assert pipe.readline().startswith(b"YUV4MPEG2")
        shown = []
        for answers in (0, 2, 1, 2, 0):
            for _ in range(answers):
                client.may_answer.release()
            shown.append(next_frame(pipe))
        assert client.traffic.pairs == 5
        assert shown == sorted(shown) and len(set(shown)) == 5
        client.may_answer.release(1000)
        reading = threading.Thread(target=lambda: [next_frame(pipe) for _ in range(55)])
        reading.start()
        assert making.result().frames_out == 60
        reading.join(WITHIN)
        assert not reading.is_alive()


def test_by_processes_too(source, tmp_path):
    order = Order(source, str(tmp_path / "out.mp4"), fps=Fraction(50), cuts=None, processes=2)
    seconds = interpolate_film(order, Drawing(), Silent(), Drawing).seconds
    assert 0 < seconds["to_first_frame"] <= seconds["to_first_new_frame"] < seconds["total"]


def next_frame(pipe):
    """The brightness of its first pixel."""
    assert pipe.readline() == b"FRAME\n"
    return pipe.read(SIZE[0] * SIZE[1] * 3 // 2)[0]
