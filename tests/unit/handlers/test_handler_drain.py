"""What a worker accepts while its server is drained, and for how long it says that it has something to finish."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from ts.protocol import otf_message_handler

from handlers.drain import Drain
from handlers.quirks import when_answered


class Unfinished:
    count = 0

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def unfinished() -> Unfinished:
    return Unfinished()


@pytest.fixture
def drain(place, unfinished) -> Drain:
    return Drain(place.path, unfinished)


def test_what_is_accepted_is_work_until_it_is_answered(place, drain):
    assert not place.is_working()
    assert drain.accept()
    assert place.is_working()
    drain.release()
    assert not place.is_working()


def test_a_drained_server_accepts_nothing_and_refusals_are_no_work(place, drain):
    place.refuse_from(time.time() + 1000)
    assert drain.accept()  # it has only given notice
    drain.release()
    place.refuse_from(time.time() - 1)
    assert not drain.accept()
    assert not place.is_working()
    place.refuse_from(None)
    assert drain.accept()


def test_a_mark_that_comes_between_look_and_lock_counts(place, drain, monkeypatch):
    """Who drains sets the mark, then looks for the lock: whatever comes between, one of the two sees the other."""
    hold = drain.hold

    def marked_meanwhile() -> None:
        place.refuse_from(0)
        hold()

    monkeypatch.setattr(drain, "hold", marked_meanwhile)
    assert not drain.accept()
    assert not place.is_working()


def test_tickets_that_nobody_has_brought_are_work_until_they_are_taken(place, drain, unfinished):
    drain.accept()
    unfinished.count = 1
    drain.release()
    assert place.is_working()
    drain.look()
    assert place.is_working()
    unfinished.count = 0
    drain.look()
    assert not place.is_working()


def test_while_a_call_is_answered_a_look_lets_nothing_go(place, drain):
    drain.hold()
    drain.look()
    assert place.is_working()


def test_a_folder_in_which_no_server_was_started_gets_no_file(tmp_path):
    drain = Drain(tmp_path, lambda: 0)
    assert drain.accept()
    drain.release()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_is_done_when_it_asks_for_the_next_message(monkeypatch):
    monkeypatch.setattr(otf_message_handler, "_retrieve_buffer", otf_message_handler._retrieve_buffer)
    done: list[str] = []
    when_answered(lambda: done.append("done"))
    here, there = socket.socketpair()
    with here, there:
        text = b"a header's name"
        here.sendall(b"I" + struct.pack("!i", len(text)) + text + struct.pack("!iiii", -1, -1, -1, -1))
        kind, message = otf_message_handler.retrieve_msg(there)
    assert (bytes(kind), len(message)) == (b"I", 1)
    assert done == ["done"]  # before it was read, and not in the middle
