"""A streamed answer, however it is cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eden_client.api.carriers import FromBody
from eden_client.api.errors import PayloadLost, ServerBusy, ServerLost
from eden_client.api.parts import read_parts
from eden_client.api.routes import frames_in
from media import encode_npy
from serving.answer import as_part, stream_end

bodies = st.lists(st.binary(max_size=300), max_size=5)


def chunked(data, sizes):
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)] if sizes else len(data)
        yield data[at : at + size]
        at += size


@given(bodies, st.lists(st.integers(1, 50), max_size=5))
def test_what_the_server_sends_is_read_back(bodies, sizes):
    stream = b"".join(as_part(body, "image/png") for body in bodies) + stream_end()
    parts = list(read_parts(chunked(stream, sizes)))
    assert [part.body for part in parts] == bodies
    assert {part.content_type for part in parts} <= {"image/png"}


def test_a_part_is_there_before_the_next_one_comes():
    def chunks():
        yield as_part(b"one", "x/y")
        raise AssertionError("asked for more")

    assert next(read_parts(chunks())).body == b"one"


@pytest.mark.parametrize("cut", [1, 20, 60, 100])
def test_an_end_too_soon_is_noticed(cut):
    stream = as_part(b"x" * 50, "x/y") + stream_end()
    with pytest.raises(ServerLost):
        list(read_parts(chunked(stream[:-cut], [7])))


def frames(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8))


def test_frames_and_what_ends_them():
    awaited = FromBody(3, (16, 16, 3))
    parts = [as_part(encode_npy(frame[None]), "application/x-npy") for frame in frames(3)]
    whole = b"".join(parts) + stream_end()
    for got, sent in zip(frames_in(chunked(whole, [11]), awaited), frames(3), strict=True):
        assert np.array_equal(got, sent)
    with pytest.raises(PayloadLost, match="2 of 3"):
        list(frames_in(iter([parts[0] + parts[1] + stream_end()]), awaited))
    error = as_part(b'{"code": 503, "type": "OverCapacity", "message": "later"}', "application/json")
    reading = frames_in(iter([parts[0] + error + stream_end()]), awaited)
    next(reading)
    with pytest.raises(ServerBusy, match="later") as told:
        next(reading)
    assert (told.value.code, told.value.kind) == (503, "OverCapacity")
