"""What the client tells of its own requests, and the files that it makes of that."""

from __future__ import annotations

import json
import pickle
from html.parser import HTMLParser

import numpy as np
import pytest

from eden_client import EdenClient, Refused, Trace
from eden_client.trace.files import as_chrome, process_of, write_trace
from eden_client.trace.page import ALIKE, as_page
from eden_client.trace.recording import UNTRACED, observed
from tests.recorder import recorder
from tracing.context import TraceContext, new_id, parse
from tracing.spans import Span, attach

FRAMES = [np.full((64, 96, 3), value, np.uint8) for value in (0, 255)]
CALLER = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def answer(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def server_span(name: str, parent: TraceContext, **attributes) -> Span:
    return Span(name, parent.trace_id, new_id(8), parent.span_id, 5, 6, {"eden.node": name, **attributes})


def traceparents(heard: list[bytes]) -> list[TraceContext | None]:
    lines = [line for said in heard for line in said.split(b"\r\n") if line.lower().startswith(b"traceparent:")]
    return [parse(line.partition(b":")[2]) for line in lines]


def test_each_attempt_and_each_wait_is_told_and_the_callers_trace_goes_on():
    busy = json.dumps({"code": 503, "type": "OverCapacity", "message": "x", "retry": "later", "retry_after": 0})
    refused = json.dumps({"code": 400, "type": "BadRequest", "message": "no", "retry": "never"})
    answers = iter([answer("503 Busy", busy.encode()), answer("400 Bad", refused.encode())])
    trace = Trace(str(CALLER))
    with recorder(answer=lambda: next(answers)) as server:
        client = EdenClient(server.url, route="fused", transport="npy", trace=trace)
        with client, pytest.raises(Refused):
            client.interpolate_pair(*FRAMES)
        heard = server.heard
    spans = trace.spans
    assert [span.name for span in spans if span.name != "send"] == [
        "request", "attempt", "POST /predictions/eden_fused", "retry_wait", "attempt", "POST /predictions/eden_fused"
    ]  # fmt: skip
    request, *rest = spans
    assert {span.trace_id for span in spans} == {CALLER.trace_id} and request.parent_id == CALLER.span_id
    posts = [span for span in rest if span.name.startswith("POST")]
    assert [found and found.span_id for found in traceparents(heard)] == [post.span_id for post in posts]
    assert all(b"x-eden-spans: 1" in said.lower() for said in heard)
    assert [span.attributes.get("error.type") for span in spans if span.name == "attempt"] == ["ServerBusy", "Refused"]
    assert request.attributes["error.type"] == "Refused"
    by_id = {span.span_id: span for span in spans}
    for span in rest:
        parent = by_id[span.parent_id]
        assert parent.start_ns <= span.start_ns and span.end_ns <= parent.end_ns


def test_without_a_trace_nothing_is_sent_of_one():
    refused = json.dumps({"code": 400, "type": "BadRequest", "message": "no", "retry": "never"}).encode()
    with recorder(answer=answer("400 Bad", refused)) as server:
        with EdenClient(server.url, route="fused", transport="npy") as client, pytest.raises(Refused, match="no"):
            client.interpolate_pair(*FRAMES)
        assert not traceparents(server.heard) and b"x-eden-spans" not in server.heard[0].lower()
    assert UNTRACED.headers == UNTRACED.fields == {} and UNTRACED.child("x") is UNTRACED


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answers_spans_are_kept_and_its_body_is_as_without(streamed):
    trace = Trace()
    with trace.begin("POST") as step:
        context = step.context
        body = attach(b"x" * 700_000, [server_span("eden_fused", context)])
        if streamed:
            chunks = (body[start : start + 4096] for start in range(0, len(body), 4096))
            assert b"".join(step.overhear(chunks)) == body
        else:
            assert step.heard(body) == b"x" * 700_000
    assert [span.name for span in trace.spans] == ["eden_fused", "POST"]


def test_spans_of_another_trace_are_not_taken_for_ones_own():
    trace = Trace()
    with trace.begin("POST") as step:
        assert step.heard(attach(b"x", [server_span("encoder", TraceContext.begin())])) == b"x"
    assert [span.name for span in trace.spans] == ["POST"]


@pytest.mark.parametrize("malformed", [None, "", "00-xyz", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_a_malformed_traceparent_begins_a_new_trace(malformed):
    trace = Trace(malformed)
    trace.begin("request").end()
    (span,) = trace.spans
    assert span.parent_id is None and parse(f"00-{span.trace_id}-{span.span_id}-01")


def test_in_another_process_it_is_the_same_trace_with_nothing_in_it_yet():
    trace = Trace(str(CALLER))
    trace.begin("film").end()
    there = pickle.loads(pickle.dumps(trace))
    assert there.trace_id == trace.trace_id and not there.spans
    there.begin("segment", CALLER).end()
    trace.add(there.taken())
    assert {span.name for span in trace.spans} == {"film", "segment"} and not there.spans


def test_waiting_for_items_is_a_part_of_its_step():
    trace = Trace()
    with trace.begin("film") as film:
        assert list(observed(film, "read", iter([1, 2]))) == [1, 2]
    film_span, read = trace.spans
    assert (read.name, read.parent_id) == ("read", film_span.span_id) and read.attributes["busy_s"] >= 0
    assert list(observed(UNTRACED, "read", iter([1]))) == [1]


def test_more_than_can_be_kept_are_counted(monkeypatch):
    monkeypatch.setattr("eden_client.trace.recording.MOST", 3)
    trace = Trace()
    for _ in range(5):
        trace.begin("request").end()
    assert (len(trace.spans), trace.dropped) == (3, 2)
    assert "2 spans were not kept" in as_page(trace.spans, trace.dropped)


def film(requests: int) -> list[Span]:
    """A film's spans: requests that overlap, each with a server's span of another clock in it."""
    root = Span("film", CALLER.trace_id, new_id(8), None, 0, (requests + 2) * 10**6, {"eden.node": "client"})
    spans = [root]
    for number in range(requests):
        start = number * 10**6
        own = Span("request", root.trace_id, new_id(8), root.span_id, start, start + 2 * 10**6, {"eden.node": "client"})
        told = {"eden.node": "encoder", "eden.worker": "9000", "eden.clock": "another", "note": "<script>&"}
        late = start + 10**6, start + 5 * 10**6 // 2
        spans += [own, Span("encoder", root.trace_id, new_id(8), own.span_id, *late, told)]
    return spans


def test_trace_viewers_get_rows_in_which_everything_nests():
    spans = film(20)
    events = [event for event in as_chrome(spans)["traceEvents"] if event["ph"] == "X"]
    assert len(events) == len(spans)
    rows: dict[tuple[int, int], list[dict]] = {}
    for event in events:
        rows.setdefault((event["pid"], event["tid"]), []).append(event)
    for row in rows.values():
        for one in row:
            for other in row:
                apart = one["ts"] + one["dur"] <= other["ts"] or other["ts"] + other["dur"] <= one["ts"]
                within = one["ts"] <= other["ts"] and other["ts"] + other["dur"] <= one["ts"] + one["dur"]
                around = other["ts"] <= one["ts"] and one["ts"] + one["dur"] <= other["ts"] + other["dur"]
                assert one is other or apart or within or around
    assert {process_of(span) for span in spans} == {"client", "encoder 9000"}
    assert len({event["pid"] for event in events}) == 2


class Page(HTMLParser):
    """What stands in a page: whether its tags close each other, and what it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.fetched += [value for name, value in attrs if name in ("src", "href", "action")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("requests", [0, 1, 20, 2000])
def test_a_page_is_whole_by_itself_and_shows_every_step(requests):
    spans = film(requests)
    page = as_page(spans)
    seen = Page(page)
    assert not seen.open and not seen.fetched and "script" not in seen.counts
    bunches = -(-requests // ALIKE) if requests > ALIKE else 0
    assert seen.counts["details"] == seen.counts["summary"] == len(spans) + bunches
    assert len(page) < 1000 * (len(spans) + 20)
    assert ("encoder is on a host with another clock: it is at least" in page) == (requests > 0)
    assert "light dark" in page and "url(" not in page
    assert ("&lt;script&gt;&amp;" in page) == (requests > 0)


def test_a_page_of_very_many_says_how_many_it_leaves_out(monkeypatch):
    monkeypatch.setattr("eden_client.trace.page.MOST", 10)
    page = as_page(film(20))
    assert Page(page).counts["details"] == 10 and "31 more spans are in the .json" in page
    assert "an empty trace" in as_page([])


def test_a_file_is_what_its_name_says(tmp_path):
    write_trace(tmp_path / "a.json", film(1))
    assert json.loads((tmp_path / "a.json").read_text())["traceEvents"]
    write_trace(tmp_path / "a.html", film(1))
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    with pytest.raises(ValueError, match=r"\.json or \.html"):
        write_trace(tmp_path / "a.txt", [])
