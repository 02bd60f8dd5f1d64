"""Order, bounds and endings of the pipeline, with threads that are as slow as one likes."""

from __future__ import annotations

import itertools
import queue
import random
import subprocess
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from eden_client.api.errors import Refused
from eden_client.film.pipeline import Pipeline
from eden_client.film.plan.timeline import Multiply, Relation, plan
from eden_client.film.read.film import Picture
from eden_client.film.stages import StageTimes


def pictures(count, alpha=False, read=None):
    for index in range(count):
        if read is not None:
            read.append(index)
        pixels = np.full((2, 2, 3), index, np.uint8)
        yield Picture(pixels, Fraction(index), pixels[..., 0] if alpha else None), Relation.MOTION


def gaps(*args, **options):
    return plan(pictures(*args, **options), Multiply(2), 1, Fraction(1))


def pipeline(*args, **options):
    return Pipeline(*args, StageTimes(), **options)


def mean(frames):
    for left, right in itertools.pairwise(frames):
        time.sleep(random.random() / 200)
        yield ((left.astype(int) + right + 1) // 2).astype(np.uint8)


@pytest.mark.parametrize("clip", [2, 3, 8, 100])
def test_frames_come_in_order(clip):
    made = [each for _, gap in pipeline(gaps(40), mean, 5, clip).frames() for each in gap]
    assert [each.time for each in made] == [Fraction(i, 2) for i in range(79)]
    assert [each.pixels[0, 0, 0] for each in made[1::2]] == list(range(1, 40))
    assert all(each.pixels is None for each in made[::2])


def test_transparency_is_asked_for_too():
    made = [each for _, gap in pipeline(gaps(6, alpha=True), mean, 2, 3).frames() for each in gap]
    assert [each.alpha[0, 0] for each in made[1::2]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("window", "clip"), [(1, 2), (3, 2), (2, 5)])
def test_reading_stays_within_the_window(window, clip):
    read = []
    for given_out, (_, made) in enumerate(pipeline(gaps(60, read=read), mean, window, clip).frames(), 1):
        assert len(list(made)) == (2 if given_out < 60 else 1)
        time.sleep(0.005)
        # runs in the air, one that waits for room, the picture that closes a gap, and one being handed over
        assert len(read) - given_out <= (window + 2) * (clip - 1) + 2


def test_an_error_of_a_call_is_raised_and_everything_ends():
    def failing(frames):
        if frames[0][0, 0, 0] == 7:
            raise Refused("no")
        yield from mean(frames)

    before = threading.active_count()
    got = 0
    with pytest.raises(Refused):
        for _, made in pipeline(gaps(1000), failing, 4, 2).frames():
            for _ in made:
                got += 1
    assert got == 2 * 7 + 1  # the next one is a picture of the film's own
    _wait_for_threads(before)


def test_an_error_of_the_film_is_raised_after_what_came_before_it():
    def broken():
        yield from pictures(5)
        raise ValueError("damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"):
        for made in pipeline(plan(broken(), Multiply(2), 1, Fraction(1)), mean, 2, 2).frames():
            got.append(made)
    assert len(got) == 4


def test_the_films_own_pictures_wait_for_no_answer():
    answered = threading.Event()

    def held_back(frames):
        assert answered.wait(60)
        yield from mean(frames)

    frames = pipeline(gaps(3), held_back, 2, 2).frames()
    _, made = next(frames)
    assert next(made).position == 0 and not answered.is_set()
    answered.set()
    assert next(made).position == Fraction(1, 2)
    assert len(list(frames)) == 2


def test_a_gap_that_is_left_early_does_not_spoil_the_next():
    made = [next(of_gap) for _, of_gap in pipeline(gaps(5), mean, 3, 2).frames()]
    assert [each.time for each in made] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at_first", [1, 3, 4])
def test_calls_side_by_side_grow_with_the_answers(at_first):
    begun, held, over = queue.SimpleQueue(), {}, threading.Event()

    def held_back(frames):
        go_on = threading.Event()
        begun.put((int(frames[0][0, 0, 0]), go_on))
        assert over.is_set() or go_on.wait(60)
        yield from mean(frames)

    def calls_begin(count):
        held.update(begun.get(timeout=60) for _ in range(count))

    def answer_first():
        held.pop(min(held)).set()  # in the order shown: what is behind the next frame makes no room for another call

    frames = pipeline(gaps(31), held_back, 4, 2, at_first=at_first).frames()
    taking = threading.Thread(target=lambda: [list(made) for _, made in frames])
    taking.start()
    calls_begin(at_first)
    for under_way in range(at_first, 4):
        answer_first()  # its thread calls again, and another one for the first time
        calls_begin(2)
        assert begun.empty(), f"more than {under_way + 1} calls"
    for _ in range(10):
        answer_first()
        calls_begin(1)
        assert begun.empty()
    over.set()
    while held:
        answer_first()
    taking.join(60)
    assert not taking.is_alive()


def test_leaving_early_ends_the_threads():
    before = threading.active_count()
    frames = pipeline(gaps(1000), mean, 4, 2).frames()
    next(frames)
    frames.close()
    _wait_for_threads(before)


def _wait_for_threads(count):
    deadline = time.monotonic() + 60
    while threading.active_count() > count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= count


def test_the_client_needs_no_torch():
    check = "import sys, eden_client.__main__, eden_client.api.grpc_route; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0
