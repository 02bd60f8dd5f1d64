"""W3C trace context: what is well-formed is gone on with, and anything else is as if nothing had been said."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.context import LONGEST, TraceContext, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
ids = st.integers(1, 2**128 - 1).map("{:032x}".format), st.integers(1, 2**64 - 1).map("{:016x}".format)


@given(*ids, st.integers(0, 255))
def test_what_is_well_formed_is_understood(trace_id, span_id, flags):
    found = parse(f"00-{trace_id}-{span_id}-{flags:02x}")
    assert found == TraceContext(trace_id, span_id, bool(flags & 1))
    assert parse(str(found).encode()) == found


@given(st.text() | st.binary() | st.from_regex(r"[0-9a-fA-F-]{50,60}"))
def test_anything_else_is_ignored_and_never_an_error(value):
    found = parse(value)
    if found is not None:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        assert re.match(r"[ \t]*[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", text)


@pytest.mark.parametrize(
    "value",
    [
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"{GOOD}-more",
        f"{GOOD},{GOOD}",
        f"{GOOD}0",
        GOOD[:-1],
        f"01-{TRACE}-{SPAN}-01more",
        f"01-{TRACE}-{SPAN}-01-{'x' * LONGEST}",
        "",
        None,
        7,
        ["00"],
    ],
)
def test_malformed(value):
    assert parse(value) is None


def test_a_later_version_is_read_as_far_as_this_one_goes():
    assert parse(f"cc-{TRACE}-{SPAN}-03-what-comes-later") == TraceContext(TRACE, SPAN, True)
    assert parse(f"01-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, False)


def test_a_child_is_another_span_of_the_same_trace():
    first = TraceContext.begin(sampled=False)
    second = first.child()
    assert (second.trace_id, second.sampled) == (first.trace_id, False)
    assert second.span_id != first.span_id
    assert parse(str(second)) == second
