"""Answers are told apart: good ones, errors in a 200, and each way to be wrong."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest

import media
from eden_client.api.errors import Refused, ServerBusy
from loadtest._answers import Reference, WrongAnswer, check, decode
from loadtest._film import Scene

FRAMES = [Scene(3, 48, 64).frame(i) for i in range(4)]


def answer(format: str, frames: list[np.ndarray]) -> bytes:
    if format == "npy":
        return media.encode_npy(np.stack(frames))
    if format == "mp4":
        target = io.BytesIO()
        media.encode_video([frames[0], *(each for frame in frames for each in (frame, frame))], Fraction(24), target)
        return target.getvalue()
    if len(frames) == 1:
        return media.encode_image(frames[0], format)
    return media.zip_images((media.encode_image(frame, format) for frame in frames), format)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "npy", "mp4"])
@pytest.mark.parametrize("count", [1, 3])
def test_good_answers_pass_and_can_be_decoded(format, count):
    body = answer(format, FRAMES[:count])
    check(body, format, count, (48, 64))
    frames = decode(body, format)
    assert len(frames) == count
    for got, sent in zip(frames, FRAMES, strict=False):
        assert np.abs(got.astype(int) - sent).mean() < (0.1 if format in ("png", "npy") else 12)


def test_an_error_in_a_200_is_raised_as_what_it_is():
    busy = json.dumps({"code": 503, "type": "OverCapacity", "message": "too much"}).encode()
    with pytest.raises(ServerBusy, match="too much"):
        check(busy, "png", 1, (48, 64))
    bad = json.dumps({"code": 400, "type": "BadRequest", "message": "one frame"}).encode()
    with pytest.raises(Refused):
        check(bad, "png", 1, (48, 64))


@pytest.mark.parametrize(
    ("body", "format", "count", "size"),
    [
        (answer("png", FRAMES[:1]), "png", 1, (64, 48)),
        (answer("png", FRAMES[:1]), "jpeg", 1, (48, 64)),
        (answer("png", FRAMES[:3]), "png", 2, (48, 64)),
        (answer("npy", FRAMES[:3]), "npy", 2, (48, 64)),
        (answer("npy", FRAMES[:3])[:-1], "npy", 3, (48, 64)),
        (answer("mp4", FRAMES[:1]), "mp4", 1, (48, 66)),
        (b"", "png", 1, (48, 64)),
        (b"PK broken", "png", 3, (48, 64)),
        (b"nothing", "npy", 1, (48, 64)),
        (b"nothing", "mp4", 1, (48, 64)),
    ],
)
def test_wrong_answers_are_found(body, format, count, size):
    with pytest.raises(WrongAnswer):
        check(body, format, count, size)


def test_a_reference_accepts_its_own_frames_rounded_otherwise_in_png_and_jpeg():
    rounded = [np.clip(frame.astype(int) + (frame % 3 == 0), 0, 255).astype(np.uint8) for frame in FRAMES]
    Reference(1, FRAMES[:2], FRAMES[2:]).compare(rounded[:2])
    as_jpeg, rounded_as_jpeg = (
        [decode(media.encode_image(frame, "jpeg", 95), "jpeg")[0] for frame in frames] for frames in (FRAMES, rounded)
    )
    Reference(1, as_jpeg[:2], as_jpeg[2:]).compare(rounded_as_jpeg[:2])


def test_a_reference_refuses_other_frames_other_seeds_and_other_numbers():
    reference = Reference(1, FRAMES[:2], FRAMES[2:])
    with pytest.raises(WrongAnswer, match="grey levels off"):
        reference.compare(FRAMES[2:])
    with pytest.raises(WrongAnswer, match="grey levels off"):
        reference.compare([FRAMES[1], FRAMES[0]])
    with pytest.raises(WrongAnswer, match="1 frames, 2"):
        reference.compare(FRAMES[:1])


def test_a_reference_tells_seeds_apart_that_differ_by_little():
    mine = np.full((8, 8, 3), 100, np.uint8)
    other = mine + 1
    with pytest.raises(WrongAnswer, match="another seed"):
        Reference(1, [mine], [other]).compare([other])
    Reference(1, [mine], [other]).compare([mine])
