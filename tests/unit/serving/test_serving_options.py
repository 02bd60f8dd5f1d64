"""What a request may ask for, and what it is told when it asks for what there is not."""

import io
import json
import math
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import media
from eden.planes import YuvFormat
from serving.errors import BadRequest, envelope
from serving.options import FASTEST, LARGEST_TERM, SLOWEST, Options, Rendering, own_rate, read_options, rendering
from serving.regions import Place
from serving.request import Request


def test_nothing_asked_for_is_nothing():
    assert read_options({}, {"accept": "*/*"}) == Options()
    assert read_options({}, {}).to_ticket("png") == {"answer": "png"}


def test_fields_win_over_headers():
    headers = {"x-eden-seed": "1", "x-eden-quality": "10", "accept": "image/webp"}
    options = read_options({"seed": b"2", "format": "JPG"}, headers)
    assert options == Options(seed=2, format="jpeg", quality=10)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("image/png", "png"),
        ("text/html, image/webp;q=0.5, image/jpeg;q=0.8", "jpeg"),
        ("video/mp4", "mp4"),
        ("application/x-npy", "npy"),
        ("application/zip", "zip"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", None),
        ("image/*", None),
    ],
)
def test_accept_chooses_the_format(accept, expected):
    assert read_options({}, {"accept": accept}).format == expected


@pytest.mark.parametrize(
    ("fields", "headers", "message", "code"),
    [
        ({"seed": b"many"}, {}, "seed is 'many', not a whole number", 400),
        ({"seed": b"-1"}, {}, "seed is -1, outside 0 to", 400),
        ({"seed": b"\xff"}, {}, "seed is not text", 400),
        ({"quality": b"0"}, {}, "quality is 0, outside 1 to 100", 400),
        ({"quality": b"101"}, {}, "quality is 101, outside 1 to 100", 400),
        ({"format": b"bmp"}, {}, "format is 'bmp', not one of png, jpeg, webp, npy, zip, mp4, region", 400),
        ({"fps": b"0"}, {}, "fps is '0', outside", 400),
        ({"fps": b"1/0"}, {}, "fps is '1/0', not a number", 400),
        ({"stream": b"perhaps"}, {}, "stream is 'perhaps', not one of", 400),
        ({"priority": b"urgent"}, {}, "priority is 'urgent', not one of live, interactive, batch", 400),
        ({}, {"x-eden-deadline-ms": "0"}, "deadline_ms is 0, outside 1 to 86400000", 400),
        ({}, {"x-eden-seed": "x"}, "seed is 'x'", 400),
        ({}, {"accept": "text/html"}, "Accept: 'text/html' names none of", 406),
        ({}, {"accept": "image/png;q=x"}, "has no valid weight", 400),
        ({}, {"accept": "image/png;q=nan"}, "has no valid weight", 400),
        ({}, {"accept": "image/png;q=2"}, "has no valid weight", 400),
        ({}, {"accept": "image/png;q=-1"}, "has no valid weight", 400),
        ({}, {"accept": "image/png;q=0, text/html"}, "names none of", 406),
    ],
)
def test_what_cannot_be_had_is_named(fields, headers, message, code):
    with pytest.raises(BadRequest) as caught:
        read_options(fields, headers)
    assert message in str(caught.value)
    assert envelope(caught.value)["code"] == code


def test_a_deadline_counts_from_the_requests_arrival():
    request = Request(0, {}, {}, arrived=1000.0)
    options = read_options({}, {"x-eden-deadline-ms": "1500", "x-eden-priority": "LIVE"})
    assert options == Options(deadline_ms=1500, priority="live")
    assert (options.terms(request).due, options.terms(request).priority) == (1001.5, "live")
    assert (Options().terms(request).due, Options().terms(request).priority) == (math.inf, "interactive")


def test_a_ticket_holds_the_time_of_day_until_which_its_caller_waits():
    options = Options(deadline_ms=1500, priority="batch", stream=True)
    said = options.to_ticket("png", due=1001.5)
    assert said == {"answer": "png", "due": 1001.5, "priority": "batch"}
    assert Options(deadline_ms=7, priority="live").with_ticket(said)[0] == Options(deadline_ms=7, priority="batch")
    assert "due" not in options.to_ticket("png")


def test_a_rate_is_kept_exact():
    assert read_options({"fps": b"30000/1001"}, {}).fps == "30000/1001"
    assert read_options({"fps": b"23.976"}, {}).fps == "2997/125"


LONG = "1" * 5000
BOUNDS = "from 1/1000 to 1000, as a fraction of whole numbers up to 10000000"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("fps", value, BOUNDS) for value in ("1e8000000", "1e30000000", "1e-5", "1E9", LONG, f"{LONG}/{LONG}")),
        *(("fps", value, BOUNDS) for value in (f"0.{LONG}", "1/2147483648", "1000000007/1000000009", "1001", "-24")),
        *(("fps", value, BOUNDS) for value in ("nan", "inf", "", "1/3/5", "1_0", "\u0664\u0662", "0.0009")),
        *(("seed", value, "0 to 9223372036854775807") for value in (LONG, f"-{LONG}", "1e400", "1_0", str(2**63), "")),
        *(("deadline_ms", value, "1 to 86400000") for value in (LONG, "1e400", "nan", "-1", "86400001", "1.5", "")),
        *(("quality", value, "1 to 100") for value in (LONG, "1e2", "0x10", "99.5")),
        ("format", "x" * 5000, "not one of"),
        ("stream", "1" * 5000, "not one of"),
        ("priority", "live" * 5000, "not one of live, interactive, batch"),
    ],
)
@pytest.mark.parametrize("by", ["field", "header"])
def test_a_number_from_outside_is_bounded_before_it_is_computed_with(name, value, message, by):
    fields, headers = (
        ({name: value.encode()}, {}) if by == "field" else ({}, {f"x-eden-{name.replace('_', '-')}": value})
    )
    started = time.process_time()
    with pytest.raises(BadRequest) as caught:
        read_options(fields, headers)
    assert time.process_time() - started < 1  # the exponent alone took seconds, with the interpreter's lock held
    assert envelope(caught.value)["code"] == 400
    assert str(caught.value).startswith(f"{name} is ") and message in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_long_accept_header_is_not_echoed():
    for accept in ("text/" + "x" * 5000, "image/png;q=" + "x" * 5000):
        with pytest.raises(BadRequest) as caught:
            read_options({}, {"accept": accept})
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "rate", [SLOWEST, FASTEST, Fraction(LARGEST_TERM, LARGEST_TERM - 1), Fraction(9_999_991, 10_007), Fraction(7, 6991)]
)
def test_whatever_rate_is_taken_makes_an_mp4(rate):
    assert Fraction(read_options({"fps": str(rate).encode()}, {}).fps) == rate
    frames = np.random.default_rng(0).integers(0, 256, (7, 64, 96, 3), np.uint8)
    target = io.BytesIO()
    media.encode_video(frames, 2 * rate, target)
    with media.open_video(target.getvalue()) as video:
        assert video.rate == 2 * rate
        assert len(list(video.frames())) == 7


@pytest.mark.parametrize(
    "rate",
    [Fraction(24000, 1001), Fraction(2**31 - 1, 2**31 - 99), Fraction(2**31 - 1, 2_200_000), Fraction(7, 2**12 - 1)],
)
def test_a_videos_own_rate_is_kept_as_nearly_as_can_be(rate):
    kept = own_rate(rate)
    assert read_options({"fps": kept.encode()}, {}).fps == kept
    assert abs(Fraction(kept) / rate - 1) < 1e-7


@pytest.mark.parametrize("rate", [Fraction(1, 2**31 - 1), Fraction(90_000)])
def test_a_video_of_an_absurd_rate_is_told_to_name_one(rate):
    with pytest.raises(BadRequest, match=f"set fps, {BOUNDS}"):
        own_rate(rate)


PLANES = YuvFormat(matrix="bt709", range="limited")
PLACE = Place(file="frames", key="0" * 64, offset=4096)


def test_an_answer_is_encoded_as_its_options_say():
    options = Options(format="jpeg", quality=70, fps="24", place=PLACE)
    assert rendering(options, "png", stream=False) == Rendering("jpeg", 70, "24", PLACE, None)
    planes = Options(format="npy", yuv=PLANES)
    assert rendering(planes, "png", stream=False) == Rendering("npy", None, None, None, PLANES)
    assert rendering(replace(planes, format="region", place=PLACE), "npy", stream=True).format == "region"


def test_a_ticket_has_all_that_the_decoder_has_to_know():
    options = Options(seed=5, format="region", quality=70, fps="24", yuv=PLANES, place=PLACE, priority="batch")
    told = json.loads(json.dumps(options.to_ticket("npy")))
    assert Options(seed=6, format="png", stream=True).with_ticket(told) == (replace(options, stream=True), "npy")


@pytest.mark.parametrize(
    ("default", "alone", "streamed"),
    [("png", "png", "png"), ("zip", "zip", "png"), ("mp4", "mp4", "png"), ("npy", "npy", "npy")],
)
def test_without_a_format_it_is_the_default_and_frame_by_frame_one_that_holds_a_frame(default, alone, streamed):
    assert rendering(Options(), default, stream=False).format == alone
    assert rendering(Options(), default, stream=True).format == streamed
    assert rendering(Options(format="webp"), default, stream=True).format == "webp"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(format="region"), "describes no region with room for the answer"),
        (Options(format="jpeg", yuv=PLANES), "layout is i420, which jpeg does not hold"),
    ],
)
def test_what_cannot_be_encoded_so_is_refused(options, told):
    with pytest.raises(BadRequest, match=told):
        rendering(options, "png", stream=False)
