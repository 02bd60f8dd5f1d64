"""Requests to clips."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

import media
from serving import clip as clips
from serving.clip import look_at
from serving.encode import ClipReader
from serving.errors import BadRequest, TooLarge, envelope
from serving.limits import ClipLimits, TokenLayout
from serving.request import Request

LIMITS = ClipLimits(max_pixels=64 * 64, max_frames=4, max_clip_pixels=3 * 64 * 64)


def read_clip(fields, limits=LIMITS):
    """Looked at, held against the limits, decoded: as a node does it. The format of an answer, and the clip."""
    source = look_at(fields, limits)
    limits.check(source.count or 2, source.peeked.height, source.peeked.width)
    return source.default_format, clips.read_clip(source, limits)


def frame(height=32, width=48, value=100):
    return np.full((height, width, 3), value, np.uint8)


def png(*args, **kwargs):
    return media.encode_image(frame(*args, **kwargs), "png")


def video(count, height=32, width=48):
    target = io.BytesIO()
    media.encode_video([frame(height, width, 40 * i) for i in range(count)], Fraction(12), target)
    return target.getvalue()


def test_numbered_frames_come_in_the_order_of_their_numbers():
    answer, clip = read_clip({"frame10": png(value=10), "frame2": png(value=2), "frame0": png(value=0)})
    assert [int(f[0, 0, 0]) for f in clip.frames] == [0, 2, 10]
    assert (answer, clip.rate) == ("zip", None)


def test_a_pair_is_answered_with_a_picture():
    assert read_clip({"frames0": png(), "frames1": png(), "seed": b"1"})[0] == "png"


def test_an_array_is_answered_with_an_array():
    answer, clip = read_clip({"body": media.encode_npy(np.stack([frame(), frame(value=7)]))})
    assert answer == "npy"
    assert clip.frames.shape == (2, 32, 48, 3)
    assert clip.frames[1, 0, 0, 0] == 7


def test_a_video_is_answered_with_a_video_and_keeps_its_rate():
    answer, clip = read_clip({"body": video(3)})
    assert (answer, clip.rate, clip.frames.shape) == ("mp4", Fraction(12), (3, 32, 48, 3))


@pytest.mark.parametrize(
    ("fields", "message", "code"),
    [
        ({}, "0 frames: at least two", 400),
        ({"body": b""}, "the request is empty", 400),
        ({"frame0": png()}, "1 frame: at least two", 400),
        ({"body": png()}, "1 frame: at least two", 400),
        ({"body": video(1)}, "1 frame: at least two", 400),
        ({"frame0": png(), "frame1": png(40, 40)}, "frame1 is 40x40 pixels, frame0 is 48x32", 400),
        ({"frame0": png(15, 48), "frame1": png(15, 48)}, "a side must be at least 16", 400),
        ({"frame0": png(), "frame1": b"no picture"}, "frame1: ", 400),
        ({"frame0": png(), "frame1": png()[:60]}, "frame1: ", 400),
        ({"frame0": png(), "frame1": "text"}, "frame1 came as text", 400),
        ({"frame0": png(), "frame1": 10**8}, "frame1 came as JSON", 400),
        ({"clip": [300]}, "clip came as JSON", 400),
        ({"frame0": png(), "frame1": b""}, "frame1: ", 400),
        ({"frame0": png(80, 80), "frame1": png(80, 80)}, "a frame of 80x80 = 6400 pixels: at most 4096", 413),
        ({f"frame{i}": png() for i in range(5)}, "5 frames, at most 4", 413),
        (
            {f"frame{i}": png(64, 64) for i in range(4)},
            "64x64 pixels: at most 3 of them are taken at once",
            413,
        ),
        ({"frame0": png(), "frame1": png(), "frme2": png()}, "unknown field 'frme2'", 400),
        ({"frame0": png(), "frame1": png(), "body": b"x"}, "in one request", 400),
        ({"frame0": png(), "frame" + "1" * 5000: png()}, "unknown field 'frame111", 400),
        ({"frame0": png(), "frame\u0661": png()}, "unknown field 'frame\u0661'", 400),
        ({f"{i}{'x' * 5000}": b"" for i in range(500)}, "and 499 more: frames are", 400),
        ({"body": b"x", **{f"frame{i}": b"" for i in range(5000)}}, "frame0 and body in one request", 400),
    ],
)
def test_what_is_wrong_is_named(fields, message, code):
    with pytest.raises(BadRequest) as caught:
        read_clip(fields)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250
    assert envelope(caught.value)["code"] == code


@pytest.mark.parametrize("body", [b"\x93NUMPY junk", b"<html>", video(3)[:200]])
def test_a_body_that_is_nothing_known_is_refused(body):
    with pytest.raises((BadRequest, media.MediaError)):
        read_clip({"body": body})


def webm(count, height=32, width=48):
    """A film that does not state how many pictures it holds."""
    target = io.BytesIO()
    with av.open(target, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=12, options={"deadline": "realtime", "cpu-used": "8"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for i in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(height, width, 10 * i), format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def test_a_film_of_unknown_length_is_held_to_what_may_be_as_it_is_decoded():
    limits = ClipLimits(max_pixels=64 * 64, max_frames=18, max_clip_pixels=1 << 24)
    assert look_at({"body": webm(3)}, limits).count is None
    answer, clip = read_clip({"body": webm(18)}, limits)
    assert (answer, len(clip.frames)) == ("mp4", 18)
    with pytest.raises(TooLarge) as caught:
        read_clip({"body": webm(19)}, limits)
    assert envelope(caught.value)["largest_clip"] == 18


def test_a_film_of_unknown_length_counts_as_what_it_may_become():
    with ThreadPoolExecutor(1) as pool:
        limits = ClipLimits(max_pixels=64 * 64, max_frames=400, max_clip_pixels=1 << 24, max_decode_bytes=1 << 30)
        reader = ClipReader(limits, 16, pool)
        requests = [Request(i, {"body": webm(2)}, {}) for i in range(3)]
        jobs = [reader.look_at(reader.ask(request)) for request in requests]
        assert all(job.nbytes >= 400 * 3 * 32 * 48 * 3 for job in jobs)
        tight = ClipReader(replace(limits, max_decode_bytes=max(job.nbytes for job in jobs) - 1), 16, pool)
        looked_at = [tight.look_at(tight.ask(request)) for request in requests]
        assert [len(part) for part in tight.parts(looked_at)] == [1, 1, 1]


def test_the_number_of_pictures_is_held_against_the_limit_before_their_headers_are_read():
    limits = ClipLimits(max_pixels=64 * 64, max_frames=2, max_clip_pixels=1 << 24)
    with pytest.raises(TooLarge, match="5 frames, at most 2"):
        look_at({f"frame{i}": b"no picture" for i in range(5)}, limits)


def test_a_payload_is_as_large_as_its_tokens_and_its_frames():
    layout = TokenLayout(8, 16, torch.float32)
    tokens, frames = (layout.nbytes(5, 64, 64, with_frames) for with_frames in (False, True))
    header = 1024
    assert 0 < tokens - 2 * 5 * (4 * 4) * 8 * 4 <= header
    assert abs(frames - tokens - 5 * 3 * 64 * 64) <= header
    for with_frames in (False, True):
        enough = layout.nbytes(7, 64, 64, with_frames)
        assert layout.largest_clip(enough, 64, 64, with_frames) == 7
        assert layout.largest_clip(enough - 1, 64, 64, with_frames) == 6
    assert layout.largest_clip(10, 64, 64) < 2
