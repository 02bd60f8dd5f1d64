"""Frames to the bytes of an answer."""

import io
import zipfile
from fractions import Fraction

import numpy as np
import pytest

import media
from serving.answer import BOUNDARY, encode_answer, encode_part, stream_end
from serving.errors import BadRequest, envelope
from serving.options import Rendering

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)


def test_one_frame_is_a_picture():
    answer = encode_answer(FRAMES[:1], None, Rendering("png", None, None))
    assert answer.content_type == "image/png"
    assert np.array_equal(media.decode_image(answer.body, max_pixels=10**6), FRAMES[0])


def test_one_frame_may_be_asked_for_as_a_zip_of_pictures():
    answer = encode_answer(FRAMES[:1], None, Rendering("zip", None, None))
    assert answer.content_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        (name,) = archive.namelist()
        assert np.array_equal(media.decode_image(archive.read(name), max_pixels=10**6), FRAMES[0])


def test_several_frames_are_a_zip_of_pictures():
    answer = encode_answer(FRAMES, None, Rendering("webp", 90, None))
    assert answer.content_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert [name.rsplit(".")[-1] for name in archive.namelist()] == ["webp"] * 3


def test_quality_changes_the_size():
    sizes = [len(encode_answer(FRAMES[:1], None, Rendering("jpeg", q, None)).body) for q in (10, 95)]
    assert sizes[0] < sizes[1] / 2


def test_an_array_is_exact():
    answer = encode_answer(FRAMES, None, Rendering("npy", None, None))
    assert np.array_equal(np.load(io.BytesIO(answer.body)), FRAMES)


def test_an_mp4_holds_the_whole_clip_at_twice_the_rate():
    source = np.stack([np.full((32, 48, 3), value, np.uint8) for value in (0, 80, 160)])
    between = np.stack([np.full((32, 48, 3), value, np.uint8) for value in (40, 120)])
    answer = encode_answer(between, source, Rendering("mp4", None, "12"))
    with media.open_video(answer.body) as video:
        levels = [int(frame.mean()) for frame in video.frames()]
        assert video.rate == Fraction(24)
    assert levels == pytest.approx([0, 40, 80, 120, 160], abs=3)


def test_an_mp4_needs_the_source_frames():
    with pytest.raises(BadRequest, match="ask the encoder for it"):
        encode_answer(FRAMES, None, Rendering("mp4", None, None))


def test_a_part_says_how_long_it_is():
    part = encode_part(FRAMES[0], Rendering("jpeg", 80, None))
    head, body = part.split(b"\r\n\r\n", 1)
    assert head.startswith(f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: ".encode())
    assert len(body) == int(head.rsplit(b" ", 1)[1]) + 2
    assert stream_end() == f"--{BOUNDARY}--\r\n".encode()


def test_a_film_cannot_be_streamed_as_parts():
    with pytest.raises(BadRequest, match="mp4 cannot be streamed"):
        encode_part(FRAMES[0], Rendering("mp4", None, None))


def test_an_error_is_an_envelope():
    assert envelope(BadRequest("no")) == {"code": 400, "type": "BadRequest", "message": "no", "retry": "never"}
    assert envelope(KeyError("x"))["code"] == 500


@pytest.mark.parametrize("error", [KeyError("x" * 10**6), BadRequest("x" * 10**6), media.MediaError("x" * 10**6)])
def test_a_message_is_never_long(error):
    assert len(envelope(error)["message"]) < 1100
