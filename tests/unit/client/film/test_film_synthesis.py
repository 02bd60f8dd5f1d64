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
    for each, found in zip(run, frames, strict=True):
        assert each.missing | {Fraction(0), Fraction(1)} <= set(found)
        for position, frame in found.items():
            assert float(frame[0, 0, 0]) == each.index + position
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


def test_frames_come_as_soon_as_their_gap_is_complete():
    run = run_of([[Fraction(1, 2)]] * 3)
    asked = []

    def server(frames):
        for left, right in itertools.pairwise(frames):
            asked.append(left)
            yield (left + right) / 2

    solving = synthesise(run, [(each.left.pixels, each.right.pixels) for each in run], server, 4)
    next(solving)
    assert len(asked) == 1
