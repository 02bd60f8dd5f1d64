"""The camera's clock, with a clock of our own."""

from __future__ import annotations

import pytest

from loadtest._camera import Camera


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pairs_fall_due_at_even_times():
    clock = Clock()
    camera = Camera(4, clock=clock)
    dues = []
    for _ in range(3):
        due, skipped = camera.next_pair()
        assert skipped == 0
        clock.now = due + 0.1  # answered in time
        dues.append(due)
    assert dues == [100.0, 100.25, 100.5]


def test_pairs_that_fall_due_during_another_are_skipped_and_the_rhythm_stays():
    clock = Clock()
    camera = Camera(4, clock=clock)
    camera.next_pair()
    clock.now = 100.8  # 100.25 and 100.5 went by; 100.75's pair is the next, late
    assert camera.next_pair() == (100.75, 2)
    clock.now = 100.9
    assert camera.next_pair() == (101.0, 0)


def test_without_a_rate_the_next_pair_is_always_due():
    clock = Clock()
    camera = Camera(0, clock=clock)
    clock.now = 123.0
    assert camera.next_pair() == (123.0, 0)


def test_the_first_answer_tells_the_streams_delay_and_later_ones_their_jitter():
    clock = Clock()
    camera = Camera(10, clock=clock)
    clock.now = 100.3
    assert camera.answered() == (pytest.approx(0.3), None)
    clock.now = 100.45
    assert camera.answered() == (None, pytest.approx(0.05))


def test_without_a_rate_there_is_no_jitter():
    clock = Clock()
    camera = Camera(0, clock=clock)
    camera.answered()
    assert camera.answered() == (None, None)


def test_cameras_of_other_phases_tick_at_other_moments():
    clock = Clock()
    camera = Camera(4, phase=0.5, clock=clock)
    assert camera.next_pair() == (100.125, 0)
    clock.now = 100.4
    assert camera.next_pair() == (100.375, 0)
