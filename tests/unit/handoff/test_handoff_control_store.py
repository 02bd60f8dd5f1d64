"""The store in which two processes of a group find each other, over the connection between them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import PrefixStore

from handoff.errors import PeerLost
from handoff.transports.nccl.control import Control, ControlStore

SOON = timedelta(seconds=60)


@pytest.fixture
def ends() -> Iterator[tuple[Control, Control]]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), 60)
        other, _ = listener.accept()
    controls = Control(one), Control(other)
    yield controls
    for control in controls:
        control.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Where the other side works."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_what_one_side_sets_the_other_gets_by_torchs_own_calls_too(ends, threads) -> None:
    ours, theirs = (ControlStore(control) for control in ends)
    late = threads.submit(PrefixStore("group", theirs).get, "first")  # C++ that calls it
    PrefixStore("group", ours).set("first", b"\0\xff" * 60)
    assert late.result(60) == b"\0\xff" * 60
    theirs.set("second", b"2")
    ours.set("own", b"3")
    ours.wait(["second", "own"], SOON)
    assert ours.get("second") == b"2"
    assert ours.check(["second", "own", "group/first"])
    assert not ours.check(["own", "third"])


def test_both_sides_may_wait_for_what_the_other_sets_later(ends, threads) -> None:
    ours, theirs = (ControlStore(control) for control in ends)
    waiting = [threads.submit(ours.get, "b"), threads.submit(theirs.get, "a")]
    ours.set("a", b"1")
    theirs.set("b", b"2")
    assert [each.result(60) for each in waiting] == [b"2", b"1"]


def test_once_both_have_joined_nothing_of_it_comes_between_later_messages(ends, threads) -> None:
    ours, theirs = (ControlStore(control) for control in ends)
    for store in (ours, theirs):
        store.set("nobody asks for it", b"1")
    closing = threads.submit(theirs.close)
    ours.close()
    closing.result(60)
    for store in (ours, theirs):
        store.set("late", b"2")  # as a thread of NCCL's may
        assert store.get("late") == b"2"
    ends[0].send(payload="a message")
    assert ends[1].receive() == {"payload": "a message"}
    with pytest.raises(LookupError):
        ours.get("never set")


def test_a_side_that_ends_is_noticed_by_who_waits_for_it_and_by_who_asks(ends, threads) -> None:
    ours, theirs = ends
    assert not ours.broken()
    waiting = threads.submit(ControlStore(ours).get, "a")
    theirs.close()
    with pytest.raises(PeerLost):
        waiting.result(60)
    assert ours.broken()
    assert theirs.broken()


def test_a_side_that_ended_is_noticed_though_not_all_that_it_sent_is_read(ends) -> None:
    ours, theirs = ends
    ours.send(key="unread")
    assert not theirs.broken()
    ours.close()
    assert theirs.broken()


def test_who_reads_is_woken_by_closing_its_own_end(ends, threads) -> None:
    ours, _ = ends
    waiting = threads.submit(ControlStore(ours).get, "a")
    ours.close()
    assert waiting.exception(60)
