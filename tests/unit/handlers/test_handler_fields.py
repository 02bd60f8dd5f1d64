"""Fields arrive as they were sent: repeated ones all, in their order, and as bytes, whatever they say they are."""

import time

import pytest

from handlers.quirks import number_repeated
from serving.errors import BadRequest
from serving.request import as_bytes, as_text


def names(*given):
    parameters = [{"name": name} for name in given]
    number_repeated(parameters)
    return [parameter["name"] for parameter in parameters]


def test_single_names_stay():
    assert names("frame0", "frame1", "seed") == ["frame0", "frame1", "seed"]


def test_repeated_names_are_numbered():
    assert names("frames", "seed", "frames", "frames") == ["frames0", "seed", "frames1", "frames2"]


def test_taken_names_are_passed_over():
    assert names("frames", "frames1", "frames") == ["frames0", "frames1", "frames2"]


def test_very_many_repeated_names_take_no_time():
    started = time.process_time()
    assert len(set(names(*(f"{i}x" for i in range(20_000)), *(f"{i}x" for i in range(20_000))))) == 40_000
    assert time.process_time() - started < 5  # each name in a pass of its own would take minutes


PARSED = [None, True, 7, 100_000_000, -1, 1.5, [300], [], {}, {"a": 1}]


@pytest.mark.parametrize("value", PARSED)
def test_what_was_parsed_is_refused_by_name(value):
    with pytest.raises(BadRequest, match="seed came as JSON"):
        as_text("seed", value)
    with pytest.raises(BadRequest, match="frame1 came as JSON"):
        as_bytes("frame1", value)


def test_text_is_no_file_and_bytes_may_be_no_text():
    assert as_text("seed", "7") == as_text("seed", bytearray(b"7")) == "7"
    assert as_bytes("frame1", bytearray(b"7")) == b"7"
    with pytest.raises(BadRequest, match="frame1 came as text"):
        as_bytes("frame1", "text")
    with pytest.raises(BadRequest, match="seed is not text"):
        as_text("seed", b"\xff")
