"""What is refused of the requests that wait in TorchServe."""

import threading
import time

import pytest
import requests

from serving.backlog import Backlog


@pytest.fixture
def backlog():
    """A backlog that has just asked how many wait: so many, by a function that is called once in these tests."""

    def _backlog(pending: int, most: int = 100, workers: int = 1) -> Backlog:
        made = Backlog(lambda: (pending, workers), most)
        made.batch(full=True)
        until(lambda: made._surplus > 0 or pending <= most)
        return made

    return _backlog


def until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize(("workers", "refused"), [(1, 12), (3, 4)])
def test_what_is_over_the_bound_is_refused_and_no_more(backlog, workers, refused):
    log = backlog(112, workers=workers)
    assert sum(log.is_surplus() for _ in range(200)) == refused


def test_as_many_as_may_wait_are_let_in(backlog):
    log = backlog(100)
    assert not any(log.is_surplus() for _ in range(200))


def test_behind_a_batch_that_is_not_full_nothing_is_surplus(backlog):
    log = backlog(1000)
    log.batch(full=False)
    assert not log.is_surplus()


def test_only_full_batches_make_it_ask():
    asked = threading.Event()
    log = Backlog(lambda: asked.set() or (0, 1), 100)
    log.batch(full=False)
    assert not asked.wait(0.05)
    log.batch(full=True)
    assert asked.wait(60)


def test_where_nobody_knows_how_many_wait_that_is_said_and_none_is_refused(caplog):
    def silent() -> int:
        raise requests.ConnectionError("nobody there")

    log = Backlog(silent, 0)
    log.batch(full=True)
    until(lambda: "nobody there" in caplog.text)
    assert not log.is_surplus()
