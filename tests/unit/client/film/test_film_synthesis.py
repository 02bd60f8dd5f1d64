"""Midpoints of midpoints, in clips of any length: the same frames, each asked for once."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eden_client.film.plan.timeline import Gap, Relation, Shown
from eden_client.film.read.film import Picture
from eden_client.film.synthesis import needed, synthesise

positions = st.lists(st.integers(1, 31).map(lambda i: Fraction(i, 32)), max_size=6)


class Server:
    """Stands for the model: the frame between holds the mean of two positions in time, exactly."""

    def __init__(self):
        self.calls = []

    def __call__(self, frames):
        self.calls.append(len(frames))
        for left, right in itertools.pairwise(frames):
            yield (left + right) / 2


def gap(index, wanted, left, right):
    return Gap(index, left, right, tuple(Shown(position, index + position) for position in wanted), Relation.MOTION)


def run_of(wanted):
    pictures = [Picture(np.full((1, 1, 3), float(i)), Fraction(i)) for i in range(len(wanted) + 1)]
    return [gap(i, positions, *pictures[i : i + 2]) for i, positions in enumerate(wanted)]


def solved(run, clip):
    server = Server()
    sides = [(each.left.pixels, each.right.pixels) for each in run]
    return list(synthesise(run, sides, server, clip)), server.calls


@given(st.lists(positions, min_size=1, max_size=8), st.integers(2, 9))
def test_every_frame_is_where_it_belongs_whatever_the_clip(wanted, clip):
    run = run_of(wanted)
    frames, calls = solved(run, clip)
    assert [frame[0, 0, 0] for frame in frames] == [shown.time for each in run for shown in each.shown]
    assert all(2 <= call <= clip for call in calls)
    assert sum(call - 1 for call in calls) == sum(len(needed(each.missing)) for each in run)


def test_needed_are_the_parents_too_coarse_ones_first():
    eighth = Fraction(1, 8)
    assert needed([3 * eighth]) == [4 * eighth, 2 * eighth, 3 * eighth]
    assert needed([2 * eighth, 4 * eighth, 6 * eighth]) == [4 * eighth, 2 * eighth, 6 * eighth]
    assert needed([Fraction(0), Fraction(1)]) == []


def test_a_whole_level_travels_as_one_clip():
    quarters = [Fraction(i, 4) for i in range(1, 4)]
    _, calls = solved(run_of([quarters] * 4), clip=100)
    assert calls == [5, 9]
    _, calls = solved(run_of([quarters] * 4), clip=2)
    assert calls == [2] * 12


def test_gaps_that_do_not_touch_are_not_joined():
    half = [Fraction(1, 2)]
    run = run_of([half, [], half])
    _, calls = solved(run, clip=10)
    assert calls == [2, 2]


def test_sides_are_not_asked_for_and_places_shown_twice_once():
    frames, calls = solved(run_of([[Fraction(0), Fraction(1, 4), Fraction(1, 4), Fraction(1)]]), clip=2)
    assert [frame[0, 0, 0] for frame in frames] == [0.25, 0.25] and calls == [2, 2]


class Watched(Server):
    """Takes down what it has drawn, and how many of its calls have come to their end."""

    def __init__(self):
        super().__init__()
        self.drawn, self.ended = [], 0

    def __call__(self, frames):
        for frame in super().__call__(frames):
            self.drawn.append(float(frame[0, 0, 0]))
            yield frame
        self.ended += 1


def watched(wanted, clip):
    run, server = run_of(wanted), Watched()
    return synthesise(run, [(each.left.pixels, each.right.pixels) for each in run], server, clip), server


def test_what_is_shown_first_is_asked_for_first():
    solving, server = watched([[Fraction(i, 8) for i in (2, 3, 5, 6)]], clip=2)  # 60 frames of 12
    assert [(float(frame[0, 0, 0]), len(server.drawn)) for frame in solving] == [
        (0.25, 2),
        (0.375, 3),
        (0.625, 5),
        (0.75, 5),
    ]
    assert server.drawn == [0.5, 0.25, 0.375, 0.75, 0.625]


def test_frames_come_before_the_call_that_brings_them_ends():
    solving, server = watched([[Fraction(1, 2)]] * 3, clip=4)
    next(solving)
    assert (server.drawn, server.ended) == ([0.5], 0)
    assert len(list(solving)) == 2
    assert server.ended == len(server.calls) == 1
