"""What the nodes tell of a request: by encoder and decoder, and by the fused node, without a server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

import media
from serving.answer import STREAM_CONTENT_TYPE
from serving.request import Caller, Request
from serving.tracer import Tracer
from tests.e2e.servers import moving_frames
from tests.unit.serving.conftest import Nodes, Outbox
from tracing.context import TraceContext
from tracing.spans import Span, detach

ENCODER = {"encoder", "image_decode", "encode", "put"}
DECODER = {"dit_decoder", "queue", "take", "denoise_decode", "denoise", "decode", "image_encode"}
FUSED = {"eden_fused", "image_decode", "encode", "denoise_decode", "denoise", "decode", "image_encode"}
CALL = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
ASKED = {"traceparent": str(CALL), "x-eden-spans": "1"}


class Kept(list[Span]):
    """What is exported."""

    def __call__(self, spans: Sequence[Span]) -> None:
        self.extend(spans)


class Traced:
    """Nodes whose handler tells them of each batch, as handlers.node does."""

    def __init__(self, nodes: Nodes, export: Kept | None, sample: float = 1.0) -> None:
        self.nodes = nodes
        self.encoder = Tracer("encoder", "9000", "gives", export, sample)
        self.decoder = Tracer("dit_decoder", "9001", "takes", export, sample)
        self.fused = Tracer("eden_fused", "9002", None, export, sample)
        for node, tracer in ((nodes.encoder, self.encoder), (nodes.decoder, self.decoder), (nodes.fused, self.fused)):
            node._telemetry.tracer = tracer
        self.drawing = nodes.decoder._drawing._telemetry

    def encode(self, *requests: Request):
        self.encoder.begin(requests)
        return self.nodes.encoder.serve(requests)

    def decode(self, *requests: Request, outbox: Outbox | None = None):
        self.drawing.tracer = self.decoder
        self.decoder.begin(requests)
        return self.nodes.decoder.serve(requests, outbox or Outbox())

    def through(self, *requests: Request):
        """As a workflow: the decoder gets the callers' headers too."""
        tickets = self.encode(*requests)
        pairs = zip(requests, tickets, strict=True)
        return self.decode(*(Request(r.index, {"body": t.body}, r.headers, Caller.WORKFLOW) for r, t in pairs))

    def fuse(self, *requests: Request, outbox: Outbox | None = None):
        self.drawing.tracer = self.fused
        self.fused.begin(requests)
        return self.nodes.fused.serve(requests, outbox or Outbox())


@pytest.fixture
def traced(nodes):
    """Nodes that export to nobody."""
    return Traced(nodes, None)


@pytest.fixture
def exported(nodes):
    return Kept()


@pytest.fixture
def exporting(nodes, exported):
    return Traced(nodes, exported)


def request(index: int = 0, caller: Caller = Caller.WORKFLOW, count: int = 2, headers: dict | None = None, **fields):
    body = media.encode_npy(moving_frames(count, seed=index))
    return Request(index, {"body": body, **fields}, headers or {}, caller, id=f"id-{index}")


def frames(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(body))


def check_tree(spans: Sequence[Span], trace: str = CALL.trace_id, root: str | None = CALL.span_id) -> None:
    """One trace; each span's parent is among them, or the caller's, and lasts as long as it does."""
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    for span in spans:
        assert span.trace_id == trace and span.start_ns <= span.end_ns
        if span.parent_id == root:
            continue
        parent = by_id[span.parent_id]
        assert parent.start_ns <= span.start_ns and span.end_ns <= parent.end_ns, (parent, span)


def test_a_request_by_both_nodes_is_one_tree_with_every_step(traced):
    (answer,) = traced.through(request(headers=ASKED))
    body, spans = detach(answer.body)
    assert frames(body).shape == (1, 64, 96, 3)
    assert {span.name for span in spans} == ENCODER | DECODER and len(spans) == len(ENCODER | DECODER)
    check_tree(spans)
    by_name = {span.name: span for span in spans}
    assert [by_name[name].parent_id for name in ("encoder", "queue", "dit_decoder")] == [CALL.span_id] * 3
    assert by_name["put"].end_ns == by_name["queue"].start_ns <= by_name["queue"].end_ns
    assert by_name["queue"].end_ns == by_name["dit_decoder"].start_ns
    assert by_name["denoise"].parent_id == by_name["decode"].parent_id == by_name["denoise_decode"].span_id
    assert by_name["denoise"].end_ns == by_name["decode"].start_ns
    told = by_name["encoder"].attributes
    assert (told["eden.frames"], told["eden.height"], told["eden.width"]) == (2, 64, 96)
    assert (told["eden.request_id"], told["eden.topology"], told["eden.worker"]) == ("id-0", "split", "9000")


def test_a_clip_by_the_fused_node_is_too(traced):
    for stream in ({}, {"stream": b"1"}):
        outbox = Outbox()
        (answer,) = traced.fuse(request(count=4, caller=Caller.HTTP, headers=ASKED, **stream), outbox=outbox)
        body, spans = detach(answer.body)
        assert {span.name for span in spans} == FUSED
        check_tree(spans)
        drawn = [span for span in spans if span.name == "denoise"]
        if stream:
            assert (answer.content_type, body) == (STREAM_CONTENT_TYPE, b"--eden-frame--\r\n")
            assert len(outbox.parts[0]) == len(drawn) == 3
        else:
            assert frames(body).shape == (3, 64, 96, 3) and len(drawn) == 1


def test_by_grpc_it_is_asked_for_by_fields(traced):
    asked = {name: value.encode() for name, value in (("traceparent", str(CALL)), ("spans", "1"))}
    (answer,) = traced.fuse(request(caller=Caller.GRPC, **asked))
    assert {span.name for span in detach(answer.body)[1]} == FUSED


def test_the_chain_is_one_tree_and_a_plain_ticket_holder_gets_plain_frames(traced):
    (ticket,) = traced.encode(request(caller=Caller.HTTP, count=3, headers=ASKED))
    assert ticket.body.startswith(b"EDEN-TICKET") and detach(ticket.body)[1] == []
    own = CALL.child()
    for stream in (b"0", b"1"):
        headers = {"traceparent": str(own), "x-eden-spans": "1"}
        (answer,) = traced.decode(Request(0, {"body": ticket.body, "stream": stream}, headers, Caller.HTTP))
        spans = detach(answer.body)[1]
        assert {span.name for span in spans} == ENCODER | DECODER - {"queue"}
        parents = {span.name: span.parent_id for span in spans if span.name in ("encoder", "dit_decoder")}
        assert parents == {"encoder": CALL.span_id, "dit_decoder": own.span_id}
    (answer,) = traced.decode(Request(0, {"body": ticket.body}, {}, Caller.HTTP))
    assert frames(answer.body).shape[0] == 2 and detach(answer.body) == (answer.body, [])


def test_steps_that_requests_share_are_told_to_each_and_nothing_of_the_others(traced):
    other = TraceContext.begin()
    mine, plain, theirs = traced.through(
        request(0, headers=ASKED), request(1), request(2, headers={**ASKED, "traceparent": str(other)})
    )
    assert detach(plain.body) == (plain.body, [])
    (body, first), (_, second) = detach(mine.body), detach(theirs.body)
    check_tree(first)
    check_tree(second, other.trace_id, other.span_id)
    one, two = ({span.name: span for span in spans} for spans in (first, second))
    for name in ("encode", "denoise_decode", "denoise"):
        assert (one[name].start_ns, one[name].end_ns) == (two[name].start_ns, two[name].end_ns)
        assert one[name].attributes["eden.batch_size"] == 3
        assert one[name].attributes["eden.batch"] == two[name].attributes["eden.batch"]
    assert other.trace_id.encode() not in mine.body and frames(body).shape[0] == 1


def test_an_answer_is_the_same_with_spans_and_without(traced):
    (plain,), (told,) = traced.through(request()), traced.through(request(headers=ASKED))
    assert detach(told.body)[0] == plain.body and told.content_type == plain.content_type


@pytest.mark.parametrize("said", ["", "x", str(CALL)[:-1], f"ff{str(CALL)[2:]}", "\xff" * 300])
def test_a_malformed_traceparent_begins_a_new_trace(traced, said):
    (answer,) = traced.fuse(request(caller=Caller.HTTP, headers={"traceparent": said, "x-eden-spans": "1"}))
    spans = detach(answer.body)[1]
    (node,) = [span for span in spans if span.name == "eden_fused"]
    assert node.parent_id is None and node.trace_id != CALL.trace_id
    check_tree(spans, node.trace_id, None)


def test_a_spans_option_that_says_nothing_known_is_refused(traced):
    (answer,) = traced.fuse(request(caller=Caller.HTTP, headers={"x-eden-spans": "perhaps"}))
    assert "spans is 'perhaps', not one of" in json.loads(answer.body)["message"]


def test_an_error_comes_with_the_spans_up_to_it(traced, monkeypatch):
    monkeypatch.setattr(traced.nodes.fused._encoder, "encode_clips", lambda clips: 1 / 0)
    (answer,) = traced.fuse(request(caller=Caller.HTTP, headers=ASKED))
    body, spans = detach(answer.body)
    assert json.loads(body)["code"] == 500
    by_name = {span.name: span for span in spans}
    assert by_name["encode"].attributes["error.type"] == "ZeroDivisionError"
    assert by_name["eden_fused"].failed and by_name["eden_fused"].attributes["http.response.status_code"] == 500
    assert not by_name["image_decode"].failed


def test_a_stream_that_breaks_ends_with_its_error_and_then_the_spans(traced, monkeypatch):
    drawn = iter([False, True])
    interpolate = traced.nodes.decoder._drawing._decoder.interpolate

    def breaks(*args, **kwargs):
        if next(drawn):
            raise RuntimeError("broken")
        return interpolate(*args, **kwargs)

    monkeypatch.setattr(traced.nodes.decoder._drawing._decoder, "interpolate", breaks)
    asked = request(count=4, caller=Caller.HTTP, headers=ASKED, stream=b"1")
    (answer,) = traced.fuse(asked)
    body, spans = detach(answer.body)
    assert body.endswith(b"--eden-frame--\r\n") and b'"InternalError"' in body
    assert sum(span.failed for span in spans if span.name == "denoise_decode") == 1


def test_what_goes_ahead_takes_its_spans_along_once(traced, monkeypatch):
    """A large answer leaves while others of its batch are still being packed."""
    gone: list[bytes] = []

    class Ahead(Outbox):
        def ahead(self, index, answer):
            gone.append(answer.body)
            return True

    (answer,) = traced.fuse(request(caller=Caller.HTTP, headers=ASKED), outbox=Ahead())
    assert answer.body == b""
    assert {span.name for span in detach(gone[0])[1]} == FUSED


def test_with_a_collector_all_is_exported_and_no_answer_changes(exporting, exported):
    (answer,) = exporting.through(request())
    assert frames(answer.body).shape[0] == 1 and detach(answer.body)[1] == []
    by_name = {span.name: span for span in exported}
    assert set(by_name) == ENCODER | DECODER
    assert by_name["encoder"].parent_id is None and len({span.trace_id for span in exported}) == 1
    assert by_name["dit_decoder"].parent_id == by_name["queue"].parent_id == by_name["encoder"].span_id


@pytest.mark.parametrize(("flags", "count"), [("01", len(FUSED)), ("00", 0)])
def test_a_caller_says_whether_its_trace_is_exported(exporting, exported, flags, count):
    exporting.fuse(request(caller=Caller.HTTP, headers={"traceparent": f"{str(CALL)[:-2]}{flags}"}))
    assert len(exported) == count


def test_of_others_a_part_is(nodes, exported):
    none = Traced(nodes, exported, sample=0.0)
    none.through(request())
    none.fuse(request(caller=Caller.HTTP))
    assert not exported
    none.fuse(request(caller=Caller.HTTP, headers={"traceparent": str(CALL)}))
    assert {span.name for span in exported} == FUSED


def test_who_is_traced_and_in_which_batch(traced):
    tracer = traced.decoder
    by_itself = [Request(0, {}, {}), Request(1, {}, ASKED), Request(2, {}, ASKED)]
    through = Request(3, {}, ASKED, Caller.WORKFLOW)  # its ticket says
    last = Request(4, {}, ASKED)
    batches = []
    for _ in range(2):
        tracer.begin([through, *by_itself, last])
        named = {request.index: tracer.trace_id(request) for request in [*by_itself, through, last]}
        assert [bool(named[index]) for index in range(5)] == [False, True, True, False, True]
        assert {named[1], named[2], named[4]} == {CALL.trace_id}
        batches.append(tracer._batch)
    assert batches == ["dit_decoder-9001-1", "dit_decoder-9001-2"]
    tracer.begin([])
    assert tracer.trace_id(last) == ""


def test_nobody_is_traced_who_does_not_ask(traced, monkeypatch):
    monkeypatch.setattr("serving.tracer.Clock.now", lambda self: pytest.fail("a time was taken for nobody"))
    monkeypatch.setattr("serving.tracer.Span", lambda *_: pytest.fail("a span was made for nobody"))
    (answer,) = traced.through(request())
    assert frames(answer.body).shape[0] == 1
    assert not traced.encoder._traces and not traced.decoder._traces


def test_a_long_stream_tells_of_its_first_steps_and_how_many_more_there_were(traced, monkeypatch):
    monkeypatch.setattr("tracing.spans.MOST", 10)
    (answer,) = traced.fuse(request(count=5, caller=Caller.HTTP, headers=ASKED, stream=b"1"))
    spans = detach(answer.body)[1]
    (node,) = [span for span in spans if span.name == "eden_fused"]
    assert len(spans) == 10 + 1
    assert node.attributes["eden.spans_dropped"] == 2 + 4 * 4 - 10


IMPORTED = """
import sys
import handlers.node, serving.fused, serving.encode, serving.decode, eden_client.cli.main
from serving.span_export import endpoint
assert endpoint(None, {}) is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


@pytest.mark.slow
def test_opentelemetry_is_not_imported_while_nothing_is_exported():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=240)
    assert done.stdout == "[]\n", done.stderr
