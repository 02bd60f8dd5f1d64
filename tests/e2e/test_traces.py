"""One request seen from the client to its last frame, by each way through a real TorchServe, without a collector."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from eden_client import Trace
from server import Server
from tests.e2e.client_films import CLIP, client_of, run, write_film
from tests.e2e.servers import moving_frames
from tracing.context import TraceContext
from tracing.spans import Span

CALLER = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
CALL = {"request", "attempt", "send"}
ENCODER = {"encoder", "image_decode", "encode", "put"}
DECODER = {"dit_decoder", "take", "denoise_decode", "denoise", "decode", "image_encode"}
FUSED = {"eden_fused", "image_decode", "encode", "denoise_decode", "denoise", "decode", "image_encode", "queue"}
WAYS = {
    "workflow": CALL | ENCODER | DECODER | {"queue", "POST /wfpredict/eden"},
    "fused": CALL | FUSED | {"POST /predictions/eden_fused"},
    "chain": CALL
    | ENCODER
    | DECODER
    | {"queue", "POST /predictions/eden__encoder", "POST /predictions/eden__dit_decoder"},
    "grpc": (CALL - {"send"})
    | ENCODER
    | DECODER
    | {"Predictions eden__encoder", "StreamPredictions eden__dit_decoder"},
}


def check_connected(spans: Sequence[Span], root: str) -> None:
    """Every span but the caller's has a parent among them, which begins no later and ends no earlier."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        if span.parent_id != root:
            parent = by_id[span.parent_id or ""]
            assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns, (parent, span)


@pytest.mark.parametrize("way", WAYS)
def test_a_pair_and_a_clip_are_connected_trees_with_every_step(both: Server, way: str):
    for count in (2, 4):
        trace = Trace(str(CALLER))
        where = {"server": f"127.0.0.1:{both.grpc_port}"} if way == "grpc" else {}
        with client_of(both, route=way, trace=trace, **where) as client:
            assert client.interpolate_clip(moving_frames(count)).shape[0] == count - 1
        spans = trace.spans
        assert {span.trace_id for span in spans} == {CALLER.trace_id}
        missing = WAYS[way] - {span.name for span in spans}
        assert missing <= {"queue"} and {span.name for span in spans} <= WAYS[way], missing
        check_connected(spans, CALLER.span_id)
        assert Counter(span.name for span in spans)["request"] == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_films_steps_are_in_its_trace_whoever_made_them(both: Server, tmp_path: Path, processes: int):
    film = write_film(tmp_path / "film.mp4", CLIP[:6])
    told = tmp_path / "trace.json"
    assert run(both, film, tmp_path / "smooth.mp4", "--processes", str(processes), "--trace", str(told)) == 0
    events = [event for event in json.loads(told.read_text())["traceEvents"] if event["ph"] == "X"]
    names = Counter(event["name"] for event in events)
    assert names["film"] == names["join"] == 1
    assert names["request"] == names["eden_fused"] == 5
    assert names["segment"] >= 1 if processes > 1 else names["read"] == 1
    ids = {event["args"]["span_id"] for event in events}
    assert [event["name"] for event in events if event["args"]["parent_id"] not in ids] == ["film"]
