"""What a request may ask for, and what it is told when it asks for what there is not."""

import pytest

from handlers.faults import BadRequest
from handlers.options import Options, read_options


def test_nothing_asked_for_is_nothing():
    assert read_options({}, {"accept": "*/*"}) == Options()
    assert read_options({}, {}).explicit() == {}


def test_fields_win_over_headers():
    headers = {"x-eden-seed": "1", "x-eden-quality": "10", "accept": "image/webp"}
    options = read_options({"seed": b"2", "format": "JPG"}, headers)
    assert options.explicit() == {"seed": 2, "format": "jpeg", "quality": 10}


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
        ({"format": b"bmp"}, {}, "format is 'bmp', not one of png, jpeg, webp, npy, zip, mp4", 400),
        ({"fps": b"0"}, {}, "fps is '0', outside", 400),
        ({"fps": b"1/0"}, {}, "fps is '1/0', not a number", 400),
        ({"stream": b"perhaps"}, {}, "stream is 'perhaps', not one of", 400),
        ({}, {"x-eden-seed": "x"}, "seed is 'x'", 400),
        ({}, {"accept": "text/html"}, "Accept: 'text/html' names none of", 406),
        ({}, {"accept": "image/png;q=x"}, "has no valid weight", 400),
    ],
)
def test_what_cannot_be_had_is_named(fields, headers, message, code):
    with pytest.raises(BadRequest) as caught:
        read_options(fields, headers)
    assert message in str(caught.value)
    assert caught.value.code == code


def test_a_rate_is_kept_exact():
    assert read_options({"fps": b"30000/1001"}, {}).fps == "30000/1001"
    assert read_options({"fps": b"23.976"}, {}).fps == "2997/125"
