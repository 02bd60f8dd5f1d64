"""Cuts and duplicates, on pictures whose truth is known."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from hypothesis import example, given
from hypothesis import strategies as st

from eden_client.film.plan.cuts import SENSITIVITY, detect_cuts, is_cut
from eden_client.film.plan.differences import STILL, Step, difference, separated, steps
from eden_client.film.plan.duplicates import is_same
from eden_client.film.plan.timeline import Relation
from eden_client.film.plan.transitions import classify_transitions
from eden_client.film.read.film import SMALL, Picture, samples_of
from media import MediaError
from tests.clip import CLIP

OTHER = [np.ascontiguousarray(255 - frame[::-1]) for frame in CLIP]


def film(frames):
    return [Picture(frame, Fraction(index)) for index, frame in enumerate(frames)]


def cuts(frames, sensitivity=SENSITIVITY):
    relations = [relation for _, relation in classify_transitions(film(frames), sensitivity, False)]
    return [index for index, relation in enumerate(relations) if relation is Relation.CUT]


def test_cuts_are_where_the_shots_meet():
    assert cuts(CLIP[:10] + OTHER[:10] + CLIP[12:20]) == [10, 20]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_motion_is_no_cut(step):
    assert cuts(CLIP[::step]) == []


@pytest.mark.parametrize("hold", [2, 3, 4])
def test_an_animation_that_holds_its_drawings_has_no_cuts(hold):
    assert cuts([frame for frame in CLIP[:12] for _ in range(hold)]) == []
    held = [frame for shot in (CLIP[:6], OTHER[:6]) for frame in shot for _ in range(hold)]
    assert cuts(held) == [6 * hold]


@pytest.mark.parametrize("hold", [2, 3, 4])
def test_noise_of_coding_in_held_drawings_makes_no_cut_of_their_motion(hold):
    coded = [np.minimum(frame, 254) + np.uint8(i % 2) for frame in CLIP[:12] for i in range(hold)]
    assert cuts(coded) == []
    assert [relation for _, relation in classify_transitions(film(coded), 0.6, True)].count(
        Relation.DUPLICATE
    ) == 12 * (hold - 1)


def test_noise_and_fades_are_no_cuts():
    random = np.random.default_rng(0)
    noisy = [np.clip(frame + random.normal(0, 20, frame.shape), 0, 255).astype(np.uint8) for frame in CLIP[:12]]
    assert cuts(noisy) == []
    assert cuts([(frame * (1 - i / 12)).astype(np.uint8) for i, frame in enumerate(CLIP[:12])]) == []


def test_two_pictures_alone_need_a_larger_difference():
    assert cuts(CLIP[:2]) == []
    assert cuts([CLIP[0], OTHER[0]]) == [1]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.6, 3.0, 9.0, 40.0, 90.0]), st.booleans()), max_size=24))
@example([(30.0, False), (0.0, False), (0.0, False), (0.0, False), (14.0, False)])  # the fourth picture ahead decides
def test_a_cut_is_told_by_its_neighbours_wherever_in_the_film_it_is(looks):
    film = [Step(Picture(CLIP[0], Fraction(i)), difference, same) for i, (difference, same) in enumerate(looks)]
    found = list(detect_cuts(film, SENSITIVITY))
    assert [step for step, _ in found] == film
    scores = [0.0 if step.same and step.difference > STILL else step.difference for step in film]
    assert [cut for _, cut in found] == [is_cut(scores, at, SENSITIVITY) for at in range(len(film))]


@pytest.mark.parametrize(
    ("before", "score", "after", "cut"),
    [
        ([10, 10], 22, [10, 10], False),
        ([10, 10], 24, [10, 10], True),
        ([2, 10], 15, [10, 2], True),  # on average, not at most
        ([30, 2, 2], 10, [2, 2, 30], True),  # the nearest two on each side
        ([2, 2, 30], 30, [30, 2, 2], False),
        ([14, 0, 0, 0], 30, [0, 0, 0, 14], False),  # drawings on fours
        ([14, 0, 0, 0, 0], 30, [0, 0, 0, 0, 14], True),  # too far away
        ([0.4, 0.4], 19, [0.4], False),  # nothing else moves: it takes more
        ([0.4, 0.4], 21, [0.4], True),
        ([0.6, 0.6], 19, [0.6], True),
        ([1, 1], 7.9, [1, 1], False),  # too little for any cut
        ([1, 1], 8.1, [1, 1], True),
    ],
)
def test_a_cut_stands_out_among_the_nearest_motion(before, score, after, cut):
    assert is_cut([*before, score, *after], len(before), 0.6) is cut


def test_sensitivity_reaches_from_nothing_to_everything():
    mixed = CLIP[:10] + OTHER[:10]
    assert cuts(mixed, sensitivity=0.0) in ([], [10])
    assert len(cuts(mixed, sensitivity=1.0)) > 5


def test_it_looks_no_further_ahead_than_it_says():
    read = []

    def source():
        for picture in film(CLIP):
            read.append(picture)
            yield picture

    found = classify_transitions(source(), SENSITIVITY, True)
    next(found)
    assert len(read) <= 5


def test_every_picture_comes_once_in_order():
    for count in range(1, 9):
        assert [picture.time for picture, _ in classify_transitions(film(CLIP[:count]), 0.6, True)] == list(
            range(count)
        )


def test_a_difference_is_what_is_left_when_each_block_is_where_it_fits_best():
    first, second = (separated(frame[:40, :64]) for frame in (CLIP[0], CLIP[6]))
    edges = np.pad(first, ((0, 0), (4, 4), (4, 4)), mode="edge").astype(float)
    left = []
    for y, x in product(range(0, 40, 8), range(0, 64, 8)):
        block = second[:, y : y + 8, x : x + 8]
        places = product(range(y, y + 9, 2), range(x, x + 9, 2))
        left.append(min(np.abs(edges[:, i : i + 8, j : j + 8] - block).sum(0).mean() for i, j in places))
    assert difference(first, second) == pytest.approx(np.mean(left), rel=1e-5)


def test_a_picture_made_small_does_not_depend_on_those_before_it():
    looks = product(("yuv420p", "yuv444p10le", "rgb24", "gray"), (1, 5), (1, 2), (CLIP[0], CLIP[0][:41, :65]))
    for format, matrix, range_, pixels in looks:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=format)
        frame.colorspace, frame.color_range = matrix, range_
        alone = frame.reformat(*SMALL, "rgb24", interpolation=Interpolation.AREA).to_ndarray()
        assert np.array_equal(Picture(None, Fraction(0), None, frame).small(), alone)


def test_each_two_pictures_are_compared_once():
    looked_at = []

    class Seen(Picture):
        def planes(self):
            looked_at.append(self.time)
            return super().planes()

    list(classify_transitions([Seen(frame, Fraction(i)) for i, frame in enumerate(CLIP[:8])], SENSITIVITY, True))
    assert sorted(looked_at) == [0, *(number for number in range(1, 7) for _ in range(2)), 7]


def test_duplicates_are_equal_up_to_the_noise_of_coding():
    random = np.random.default_rng(0)
    noisy = np.clip(CLIP[0].astype(int) + random.integers(-2, 3, CLIP[0].shape), 0, 255).astype(np.uint8)
    assert is_same(*film([CLIP[0], CLIP[0].copy()])) and is_same(*film([CLIP[0], noisy]))
    moved = CLIP[0].copy()
    moved[60:68, 100:108] = 255 - moved[60:68, 100:108]  # a mouse pointer
    assert not is_same(*film([CLIP[0], moved]))
    whole = CLIP[0][:123, :219]
    edge = whole.copy()
    edge[-3:] = 255 - edge[-3:]  # where no whole block lies
    assert not is_same(*film([whole, edge]))


def test_transparency_counts():
    opaque, clear = np.full((128, 224), 255, np.uint8), np.zeros((128, 224), np.uint8)
    black = np.zeros_like(CLIP[0])
    assert not is_same(Picture(black, Fraction(0), opaque), Picture(black, Fraction(1), clear))
    assert not is_same(Picture(black, Fraction(0), None), Picture(black, Fraction(1), clear))
    assert is_same(Picture(black, Fraction(0), clear), Picture(black, Fraction(1), clear))


def test_relations():
    frames = [CLIP[0], CLIP[0], CLIP[1], CLIP[2], CLIP[3], CLIP[4], OTHER[0], OTHER[1], OTHER[2], OTHER[2], OTHER[3]]
    M, C, D = Relation.MOTION, Relation.CUT, Relation.DUPLICATE
    assert [relation for _, relation in classify_transitions(film(frames), 0.6, True)][1:] == [
        D,
        M,
        M,
        M,
        M,
        C,
        M,
        M,
        D,
        M,
    ]
    assert [relation for _, relation in classify_transitions(film(frames), None, False)] == [M] * 11


def decoded(frame, format, time=0):
    """A picture as a decoder gives it."""
    original = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format=format)
    return Picture(None, Fraction(time), None, original)


def changed(picture, plane, part, by):
    """The same with some samples of a plane changed."""
    frame = VideoFrame.from_ndarray(picture.original.to_ndarray(), format=picture.original.format.name)
    samples = samples_of(frame.planes[plane]).copy()
    samples[part] = np.where(samples[part] < 128, samples[part] + by, samples[part] - by)
    height, size = samples.shape[0], frame.planes[plane].line_size
    frame.planes[plane].update(np.pad(samples, ((0, 0), (0, size - samples.shape[1]))).reshape(height * size))
    return Picture(None, picture.time + 1, None, frame)


@pytest.mark.parametrize("format", ["yuv420p", "yuv444p", "yuv422p", "gray"])
def test_pictures_of_planes_are_compared_as_they_are(format, monkeypatch):
    monkeypatch.setattr(Picture, "pixels", property(lambda picture: pytest.fail("converted")))
    first = decoded(CLIP[0], format)
    planes = len(first.original.planes)
    assert is_same(first, decoded(CLIP[0], format, 1)) and not is_same(first, decoded(CLIP[3], format, 1))
    everywhere, corner, edge = np.s_[:], np.s_[:4, :4], np.s_[-1:]
    for plane in range(planes):
        assert is_same(first, changed(first, plane, everywhere, 1))
        assert not is_same(first, changed(first, plane, everywhere, 3))
        assert not is_same(first, changed(first, plane, corner, 100))
        assert is_same(first, changed(first, plane, np.s_[:1, :1], 100))
    odd = decoded(CLIP[0][:-2], format)
    assert not is_same(odd, changed(odd, 0, edge, 100))


def test_pictures_of_two_formats_are_compared_as_rgb():
    assert is_same(decoded(CLIP[0], "yuv444p"), Picture(CLIP[0], Fraction(1)))
    assert not is_same(decoded(CLIP[3], "yuv444p"), Picture(CLIP[0], Fraction(1)))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (15, 40), (16, 16), (17, 15)])
def test_pictures_smaller_than_a_block_are_compared_too(size):
    frame = CLIP[0][: size[0], : size[1]] // 2
    assert is_same(*film([frame, frame.copy()])) and not is_same(*film([frame, frame + np.uint8(3)]))


@pytest.mark.parametrize("differences", [True, False])
def test_several_threads_find_the_same(differences):
    frames = [frame for frame in CLIP[:8] + OTHER[:8] for _ in range(2)]
    found = [list(steps(film(frames), differences, True, threads)) for threads in (1, 4)]
    told = [[(each.picture.time, each.difference, each.same) for each in of] for of in found]
    assert told[0] == told[1] and len(told[0]) == len(frames)
    assert sum(same for _, _, same in told[0]) == len(frames) / 2


@pytest.mark.parametrize("threads", [1, 4])
def test_what_reading_raises_comes_after_the_steps_before_it(threads):
    def pictures():
        yield from film(CLIP[:6])
        raise MediaError("broken off")

    seen = []
    with pytest.raises(MediaError, match="broken off"):
        for step in steps(pictures(), True, True, threads):
            seen.append(step.picture.time)
    assert seen == list(range(6))


def test_one_thread_waits_for_no_picture_but_its_own():
    def pictures():
        for picture in film(CLIP[:3]):
            asked.append(picture.time)
            yield picture

    asked = []
    for step in steps(pictures(), True, True):
        assert asked[-1] == step.picture.time
