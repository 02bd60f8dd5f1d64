"""A planner that keeps a little ahead: no further than there is room, and no longer than anybody wants it."""

from __future__ import annotations

import queue
import threading

import pytest

from eden_client.film.plan_ahead import PlanAhead, Planned

PATIENCE = 60


def planning(jobs, room):
    told = queue.SimpleQueue()
    return PlanAhead(jobs, told.put, room), lambda: told.get(timeout=PATIENCE), told


def test_it_waits_for_room():
    begun, asked = [], threading.Semaphore(0)

    def jobs():
        for number in range(5):
            begun.append(number)
            asked.release()
            yield number

    plan, next_, told = planning(jobs(), room=2)
    assert [next_().job, next_().job] == [0, 1]
    for _ in range(3):
        assert asked.acquire(timeout=PATIENCE)
    assert begun == [0, 1, 2] and told.empty(), "one is planned, and waits"
    plan.make_room(2)
    assert [next_().job, next_().job] == [2, 3]
    plan.make_room(9)
    assert [next_(), next_()] == [Planned(4), Planned(None)]


def test_an_error_is_told_after_what_was_planned():
    def jobs():
        yield 1
        raise KeyError("film")

    _, next_, _ = planning(jobs(), room=9)
    assert next_().job == 1
    assert isinstance(next_().job, KeyError)


@pytest.mark.parametrize("waits_for", ["room", "its source"])
def test_it_ends_when_it_is_stopped(waits_for):
    go_on, threads = threading.Event(), list[threading.Thread]()

    def jobs():
        threads.append(threading.current_thread())
        begun.release()
        if waits_for == "its source":
            assert go_on.wait(PATIENCE)
        yield 1
        raise AssertionError("nobody wants more")

    begun = threading.Semaphore(0)
    plan, _, told = planning(jobs(), room=0)
    assert begun.acquire(timeout=PATIENCE)
    plan.stop()
    go_on.set()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive() and told.empty()
