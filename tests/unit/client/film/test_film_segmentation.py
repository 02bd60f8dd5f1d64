"""Where films are cut into segments, and how memory is shared out."""

from __future__ import annotations

from fractions import Fraction
from itertools import groupby

import pytest

from eden_client.film.plan.segmentation import Segmentation
from eden_client.film.write import budget
from eden_client.film.write.budget import Budget

SIZES = [(64, 112), (480, 854), (1080, 1920), (2160, 3840)]


def lengths(segments: Segmentation, gaps: int) -> list[int]:
    return [len(list(each)) for _, each in groupby(range(gaps), segments.number)]


@pytest.mark.parametrize(
    ("ratio", "clip", "size", "expected"),
    [
        (2, 2, (480, 854), [6, 12, 24, 48, 48, 48]),
        (2, 2, (1080, 1920), [6, 12, 24, 24, 24]),
        (8, 2, (480, 854), [2, 3, 6, 12, 12]),
        (2, 16, (480, 854), [15, 15, 30, 60, 60]),
        (Fraction(5, 2), 2, (480, 854), [5, 10, 20, 39, 39]),
        (Fraction(1, 4), 2, (64, 64), [48, 96, 192, 384, 384]),
    ],
)
def test_they_grow_to_their_full_length(ratio, clip, size, expected):
    found = lengths(Segmentation(Fraction(ratio), clip, size), 3000)
    assert found[: len(expected)] == expected
    assert len(set(found[3:-1])) == 1  # all others are alike


@pytest.mark.parametrize(
    ("gaps", "clip", "expected"),
    [
        (479, 2, [6, 12, 24, *[48] * 8, 11, 24, 12, 6]),
        (84, 2, [6, 12, 24, 24, 12, 6]),
        (83, 2, [6, 12, 24, 41]),
        (479, 16, [15, 15, 30, *[60] * 5, 45, 30, 15, 29]),
        (500, 16, [15, 15, 30, *[60] * 6, 15, 30, 15, 20]),
    ],
)
def test_they_shrink_towards_an_end_that_is_known(gaps, clip, expected):
    assert lengths(Segmentation(Fraction(2), clip, (480, 854), gaps), gaps) == expected


@pytest.mark.parametrize("really", [1, 50, 90, 300, 478, 480, 2000])
def test_an_end_stated_wrongly_does_no_harm(really):
    found = lengths(Segmentation(Fraction(2), 2, (480, 854), 479), really)
    assert sum(found) == really and max(found) <= 48


@pytest.mark.parametrize("clip", [2, 3, 9, 16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gaps", [None, 9_999, 10_000, 10_001])
def test_they_hold_whole_clips(clip, size, gaps):
    segments = Segmentation(Fraction(2), clip, size, gaps)
    assert not any(length % (clip - 1) for length in lengths(segments, 10_000)[:-1])


def test_the_last_gap_of_a_segment_is_known():
    segments = Segmentation(Fraction(2), 2, (480, 854))
    ends = [gap for gap in range(100) if segments.ends_with(gap)]
    assert ends == [5, 17, 41, 89]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("memory", [1, 1 << 30, 2 << 30, 64 << 30])
def test_a_budget_is_kept_and_always_allows_some_work(monkeypatch, size, memory):
    monkeypatch.setattr(budget, "cores", lambda: 32)
    of = Budget(memory, size, 2, 8)
    assert 1 <= of.window <= 8 and of.waiting >= 2 and 1 <= of.segments <= 32
    pixels = size[0] * size[1]
    assert of.window == 1 or of.window * 2 * 12 * pixels <= memory / 4
    assert of.waiting == 2 or of.waiting * 3 * pixels <= memory / 4
    assert of.segments == 1 or of.segments * 150 * pixels <= memory / 2


def test_more_memory_allows_more_segments(monkeypatch):
    monkeypatch.setattr(budget, "cores", lambda: 32)
    assert Budget(2 << 30, (1080, 1920), 2, 8).segments < Budget(16 << 30, (1080, 1920), 2, 8).segments
