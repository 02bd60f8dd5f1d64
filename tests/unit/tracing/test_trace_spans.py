"""Spans behind a body: they come off it again, and no body is taken for one that has some."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.context import new_id
from tracing.spans import LARGEST, MAGIC, Span, attach, detach

TRACE = new_id(16)


def span(name: str = "encode", **attributes) -> Span:
    return Span(name, TRACE, new_id(8), new_id(8), 10**18, 10**18 + 5, attributes)


attributes = st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.floats(allow_nan=False))


@given(st.binary(), st.lists(attributes, max_size=4))
def test_they_come_off_again(body, told):
    spans = [Span("put", TRACE, new_id(8), None, 1, 2, each) for each in told]
    assert detach(attach(body, spans)) == (body, spans)


@given(st.binary() | st.binary().map(lambda body: body + MAGIC))
def test_any_other_body_stays_as_it_is(body):
    assert detach(body) == (body, [])


def trailer(told: object) -> bytes:
    text = json.dumps(told).encode()
    return text + len(text).to_bytes(4, "big") + MAGIC


GOOD = ["name", new_id(8), None, 1, 2, {}]


@pytest.mark.parametrize(
    "told",
    [
        {},
        7,
        [TRACE],
        [TRACE, 7],
        ["x", [GOOD]],
        [7, [GOOD]],
        [TRACE, [[*GOOD, 1]]],
        [TRACE, [GOOD[:-1]]],
        [TRACE, [["name", "no id", None, 1, 2, {}]]],
        [TRACE, [["name", new_id(8), 7, 1, 2, {}]]],
        [TRACE, [["name", new_id(8), None, 2, 1, {}]]],
        [TRACE, [["name", new_id(8), None, -1, 1, {}]]],
        [TRACE, [["name", new_id(8), None, 1, 2**64, {}]]],
        [TRACE, [["name", new_id(8), None, 1, 2, {"a": [1]}]]],
    ],
)
def test_what_says_no_spans_is_part_of_the_body(told):
    body = b"frame" + trailer(told)
    rest, spans = detach(body)
    assert spans == [] and rest in (body, b"frame")
    assert detach(b"frame" + trailer([TRACE, [GOOD]]))[0] == b"frame"


def test_too_many_are_cut_short():
    body = attach(b"frame", [span(note="x" * 1000) for _ in range(500)])
    assert len(body) <= LARGEST + 64
    rest, spans = detach(body)
    assert rest == b"frame" and 50 < len(spans) < 500
