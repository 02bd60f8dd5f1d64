"""Segments in threads of their own: order, bounds, errors, endings. Every test waits for events alone."""

from __future__ import annotations

import threading

import pytest

from eden_client.film.resume_journal import Entry
from eden_client.film.write.segment_threads import SegmentThreads

WITHIN = 60
"""Seconds after which something has gone wrong."""


NOTED = []


class Sink:
    """Takes numbers; `gate` holds it up, `fails_at` breaks it."""

    def __init__(self, gate=None, fails_at=None):
        self.taken, self.ended, self.gate, self.fails_at = [], "", gate, fails_at
        self.began, self.over = threading.Event(), threading.Event()

    def write(self, frame):
        self.began.set()
        if self.gate is not None:
            assert self.gate.wait(WITHIN)
        if frame == self.fails_at:
            raise ValueError(f"no {frame}")
        self.taken.append(frame)

    def close(self):
        self.ended = "closed"
        self.over.set()
        return self

    def abandon(self):
        self.ended = "abandoned"
        self.over.set()


def started(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_each_segment_gets_its_frames_in_order_and_is_noted():
    NOTED.clear()
    sinks = [Sink() for _ in range(5)]
    threads = SegmentThreads(sinks.__getitem__, NOTED.append, at_once=3, waiting=4)
    for number in range(50):
        threads.write(number // 10, number)
        if number % 10 == 9:
            threads.complete(number // 10)
    threads.finish()
    assert [sink.taken for sink in sinks] == [list(range(10 * i, 10 * i + 10)) for i in range(5)]
    assert {sink.ended for sink in sinks} == {"closed"}
    assert {id(sink) for sink in NOTED} == {id(sink) for sink in sinks}


def test_a_segment_without_a_frame_is_noted_as_empty():
    NOTED.clear()
    sink = Sink()
    threads = SegmentThreads(lambda number: sink, NOTED.append, at_once=1, waiting=1)
    threads.complete(0)
    threads.write(1, "a")
    threads.complete(1)
    threads.complete(2)
    threads.finish()
    assert [each for each in NOTED if each is not sink] == [Entry.empty(0), Entry.empty(2)]
    assert sink.taken == ["a"] and sink in NOTED


def test_a_later_segment_may_end_first():
    gate = threading.Event()
    sinks = [Sink(gate), Sink()]
    threads = SegmentThreads(sinks.__getitem__, NOTED.append, at_once=2, waiting=10)
    for number in range(2):
        threads.write(number, number)
        threads.complete(number)
    assert sinks[1].over.wait(WITHIN) and not sinks[0].ended
    gate.set()
    threads.finish()
    assert sinks[0].ended == "closed"


def test_no_more_segments_at_once_than_asked_for():
    gate = threading.Event()
    sinks = [Sink(gate) for _ in range(3)]
    threads = SegmentThreads(sinks.__getitem__, NOTED.append, at_once=2, waiting=10)
    for number in range(2):
        threads.write(number, number)
        threads.complete(number)
    third = started(lambda: threads.write(2, 2))
    assert sinks[0].began.wait(WITHIN) and sinks[1].began.wait(WITHIN)
    assert third.is_alive() and not sinks[2].began.is_set()
    gate.set()
    third.join(WITHIN)
    threads.complete(2)
    threads.finish()
    assert sinks[2].taken == [2]


def test_no_more_frames_wait_than_asked_for():
    gate, written = threading.Event(), []
    sink = Sink(gate)
    threads = SegmentThreads(lambda number: sink, NOTED.append, at_once=1, waiting=3)

    def write():
        for number in range(5):
            threads.write(0, number)
            written.append(number)

    writer = started(write)
    assert sink.began.wait(WITHIN)
    while len(written) < 3:  # as many as may wait, the one in the making included
        assert writer.is_alive()
    assert written == [0, 1, 2]
    gate.set()
    writer.join(WITHIN)
    threads.complete(0)
    threads.finish()
    assert sink.taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("waiting", [1, 2, 100])
def test_an_error_is_raised_by_a_write_or_at_the_end_and_never_hangs(waiting):
    sinks = [Sink(fails_at=3), Sink()]
    threads = SegmentThreads(sinks.__getitem__, NOTED.append, at_once=2, waiting=waiting)
    with pytest.raises(ValueError, match="no 3"):
        for number in range(20):
            threads.write(0, number)
        threads.complete(0)
        threads.finish()
    threads.stop()
    assert sinks[0].taken == [0, 1, 2] and sinks[0].ended == "abandoned"


def test_one_that_cannot_be_begun_is_an_error_too():
    def refuse(number):
        raise OSError("disk full")

    threads = SegmentThreads(refuse, NOTED.append, at_once=1, waiting=1)
    with pytest.raises(OSError, match="disk full"):
        threads.write(0, 0)
        threads.write(0, 1)
        threads.complete(0)
        threads.finish()
    threads.stop()


def test_stopping_keeps_what_is_complete_and_drops_the_rest():
    gate = threading.Event()
    sinks = [Sink(gate), Sink(gate)]
    threads = SegmentThreads(sinks.__getitem__, NOTED.append, at_once=2, waiting=10)
    threads.write(0, "a")
    threads.write(0, "b")
    threads.complete(0)
    threads.write(1, "c")
    gate.set()
    threads.stop()
    assert (sinks[0].taken, sinks[0].ended) == (["a", "b"], "closed")
    assert (sinks[1].taken, sinks[1].ended) == (["c"], "abandoned")


def test_who_is_told_to_end_while_a_thread_is_started_keeps_what_is_finished(monkeypatch):
    NOTED.clear()
    sinks = [Sink(), Sink()]
    threads = SegmentThreads(sinks.__getitem__, NOTED.append, at_once=2, waiting=2)
    threads.write(0, "a")
    threads.complete(0)
    start = threading.Thread.start

    def interrupted(thread):
        if thread.name == "segment 1":
            raise SystemExit
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(SystemExit):
        threads.write(1, "b")
    threads.stop()
    assert [sinks[0]] == NOTED and sinks[0].taken == ["a"]
