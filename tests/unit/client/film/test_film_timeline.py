"""Plans on exact times: how many frames, when, and from where between which pictures."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eden_client.film.plan.timeline import LONGEST_HOLD, Constant, Multiply, Relation, plan
from eden_client.film.read.film import Picture

MOTION, CUT, SAME = Relation.MOTION, Relation.CUT, Relation.DUPLICATE
BLACK = np.zeros((2, 2, 3), np.uint8)
rates = st.sampled_from([Fraction(24), Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(12)])
steps = st.lists(st.fractions(Fraction(1, 240), Fraction(1), max_denominator=90000), min_size=1, max_size=30)


def film(times, relations=None):
    relations = relations or [MOTION] * len(times)
    return [(Picture(BLACK, Fraction(time)), relation) for time, relation in zip(times, relations, strict=True)]


def shown(gaps):
    return [each for gap in gaps for each in gap.shown]


@given(st.integers(2, 60), rates, st.sampled_from([2, 4, 8]))
def test_times_n_frames_give_every_step_once(count, rate, times):
    gaps = list(plan(film([i / rate for i in range(count)]), Multiply(times), times.bit_length() - 1, 1 / rate))
    assert [each.time for each in shown(gaps)] == [Fraction(i) / rate / times for i in range((count - 1) * times + 1)]
    assert all(each.position.denominator <= times for each in shown(gaps))
    for gap in gaps[:-1]:
        assert [each.position for each in gap.shown] == [Fraction(i, times) for i in range(times)]


@given(steps)
def test_a_variable_rate_stays_true(steps):
    times = [sum(steps[:i], Fraction(0)) for i in range(len(steps) + 1)]
    gaps = list(plan(film(times), Multiply(2), 1, Fraction(1)))
    result = [each.time for each in shown(gaps)]
    assert result[::2] == times
    assert result[1::2] == [(a + b) / 2 for a, b in itertools.pairwise(times)]


@given(st.integers(2, 60), rates, st.sampled_from([Fraction(60), Fraction(60000, 1001), Fraction(10), Fraction(50)]))
def test_a_constant_rate_has_exact_times_and_the_films_length(count, rate, target):
    start = Fraction(7, 5)
    gaps = list(plan(film([start + i / rate for i in range(count)]), Constant(target), 3, 1 / rate))
    result = shown(gaps)
    assert [each.time for each in result] == [start + i / target for i in range(len(result))]
    assert len(result) == max(floor(count / rate * target + Fraction(1, 2)), ceil((count - 1) / rate * target))
    for gap in gaps[:-1]:
        for each in gap.shown:
            exact = (each.time - gap.left.time) / (gap.right.time - gap.left.time)
            assert abs(each.position - exact) <= Fraction(1, 16)


def test_24_to_60_takes_the_nearest_eighths():
    gaps = list(plan(film([Fraction(i, 24) for i in range(3)]), Constant(Fraction(60)), 3, Fraction(1, 24)))
    assert [[each.position for each in gap.shown] for gap in gaps[:2]] == [
        [0, Fraction(3, 8), Fraction(3, 4)],
        [Fraction(1, 4), Fraction(5, 8)],
    ]
    assert len(shown(gaps)) == 8  # 3 / 24 s x 60


def test_slower_than_the_source_asks_for_nothing_that_is_not_shown():
    gaps = list(plan(film([Fraction(i, 24) for i in range(24)]), Constant(Fraction(12)), 3, Fraction(1, 24)))
    assert len(shown(gaps)) == 12 and not any(gap.missing for gap in gaps)


@pytest.mark.parametrize("relation", [CUT, SAME])
def test_at_a_cut_and_between_duplicates_the_left_picture_is_repeated(relation):
    gaps = list(plan(film([0, 1, 2], [MOTION, relation, MOTION]), Multiply(4), 2, Fraction(1)))
    assert [each.position for each in gaps[0].shown] == [0, 0, 0, 0]
    assert [each.time for each in gaps[0].shown] == [0, Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)]
    assert len(gaps[1].missing) == 3


def test_retimed_duplicates_spread_the_motion():
    """Drawings on twos: every second picture repeats the one before it."""
    gaps = list(plan(film(range(5), [MOTION, SAME, MOTION, SAME, MOTION]), Multiply(2), 3, Fraction(1), retime=True))
    assert [(gap.left.time, gap.right and gap.right.time) for gap in gaps] == [(0, 2), (2, 4), (4, None)]
    assert [each.position for each in gaps[0].shown] == [0, Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)]
    assert [each.time for each in shown(gaps)] == [Fraction(i, 2) for i in range(9)]


@pytest.mark.parametrize("length", [LONGEST_HOLD, LONGEST_HOLD + 1, 2 * LONGEST_HOLD, 3 * LONGEST_HOLD + 1, 50])
def test_a_still_stays_one_and_no_time_is_lost(length):
    relations = [MOTION, *[SAME] * (length - 1), MOTION]
    gaps = list(plan(film(range(length + 1), relations), Multiply(2), 3, Fraction(1), retime=True))
    assert [each.time for each in shown(gaps)] == [Fraction(i, 2) for i in range(2 * length + 1)]
    moving = [gap for gap in gaps if gap.missing]
    assert len(moving) == 1
    spread = length if length <= LONGEST_HOLD else 1
    assert moving[0].right.time - moving[0].left.time == spread


@given(st.lists(st.sampled_from([MOTION, MOTION, SAME, CUT]), min_size=2, max_size=40), st.booleans())
def test_whatever_happens_all_times_are_there_once_and_gaps_join(relations, retime):
    gaps = list(plan(film(range(len(relations)), relations), Multiply(2), 3, Fraction(1), retime))
    assert [each.time for each in shown(gaps)] == [Fraction(i, 2) for i in range(2 * len(relations) - 1)]
    assert [gap.index for gap in gaps] == list(range(len(gaps)))
    assert [gap.before for gap in gaps] == [0, *itertools.accumulate(len(gap.shown) for gap in gaps[:-1])]
    for gap, after in itertools.pairwise(gaps):
        assert gap.right is after.left
        assert all(gap.left.time <= each.time < gap.right.time for each in gap.shown)


def test_a_still_of_any_length_is_not_piled_up():
    read = []

    def endless():
        for index in range(10_000):
            read.append(index)
            yield Picture(BLACK, Fraction(index)), SAME if index else MOTION

    gaps = plan(endless(), Multiply(2), 3, Fraction(1), retime=True)
    for expected in range(100):
        assert next(gaps).index == expected
    assert len(read) < 100 + 3 * LONGEST_HOLD


def test_nothing_comes_of_fewer_than_two_pictures():
    assert list(plan(film([]), Multiply(2), 1, Fraction(1))) == []
    assert list(plan(film([0]), Multiply(2), 1, Fraction(1))) == []
