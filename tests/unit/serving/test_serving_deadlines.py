"""What its caller no longer waits for is dropped before the next step, and said to be, and never computed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import media
from serving import decode
from serving.request import Caller, Request
from tests.e2e.servers import assert_same, moving_frames
from tests.unit.serving.conftest import Nodes, Outbox

SECOND = {"x-eden-deadline-ms": "1000"}


class Clock:
    """A time of day that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def passes_after(self, step: Callable, seconds: float = 2.0) -> Callable:
        """The step, and then it is so much later."""

        def timed(*args, **kwargs):
            made = step(*args, **kwargs)
            self.now += seconds
            return made

        return timed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nodes(make_nodes, clock) -> Nodes:
    return make_nodes(clock=clock)


@pytest.fixture
def request_of(clock):
    def make(count: int = 2, index: int = 0, caller: Caller = Caller.HTTP, seed: int = 0, **headers: str) -> Request:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = media.encode_npy(moving_frames(count, 64, 96, seed))
        return Request(index, {"body": body}, SECOND | named, caller, arrived=clock.now)

    return make


@pytest.fixture
def never(monkeypatch):
    def forbid(owner: object, name: str) -> None:
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail(f"{name} was called for nobody"))

    return forbid


def is_dropped(answer, before: str) -> None:
    told = json.loads(answer.body)
    assert (answer.status, told["code"], told["type"], told["retry"]) == (504, 504, "DeadlinePassed", "later"), told
    assert f"before the {before}, which was not done" in told["message"]


def frames(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(body))


@pytest.mark.parametrize("node", ["encoder", "fused"])
def test_late_frames_are_not_decoded(nodes, clock, request_of, never, node):
    request = request_of()
    clock.now += 1.0
    never(media, "decode_npy")
    (answer,) = getattr(nodes, node).serve([request], Outbox())
    is_dropped(answer, "decoding of its frames")


@pytest.mark.parametrize("node", ["encoder", "fused"])
def test_late_frames_are_not_encoded(nodes, clock, request_of, monkeypatch, never, node):
    monkeypatch.setattr(media, "decode_npy", clock.passes_after(media.decode_npy))
    never(nodes.encoder, "_encode")
    never(nodes.fused, "_encode")
    (answer,) = getattr(nodes, node).serve([request_of()], Outbox())
    is_dropped(answer, "encoding")


def test_late_tokens_are_not_handed_on(nodes, clock, request_of, monkeypatch):
    monkeypatch.setattr(nodes.encoder, "_encode", clock.passes_after(nodes.encoder._encode))
    (answer,) = nodes.encoder.serve([request_of()])
    is_dropped(answer, "hand-off")
    assert nodes.handoff.in_flight() == 0


def test_late_tokens_of_the_fused_node_are_not_drawn(nodes, clock, request_of, monkeypatch, never):
    monkeypatch.setattr(nodes.fused, "_encode", clock.passes_after(nodes.fused._encode))
    never(nodes.fused._drawing._decoder, "interpolate")
    is_dropped(nodes.fused.serve([request_of()], Outbox())[0], "drawing")


@pytest.mark.parametrize("caller", [Caller.WORKFLOW, Caller.HTTP])
@pytest.mark.parametrize("stream", ["0", "1"])
def test_a_late_ticket_is_not_drawn_and_holds_no_room(nodes, clock, request_of, never, caller, stream):
    (ticket,) = nodes.encoder.serve([request_of(caller=caller)])
    assert nodes.handoff.in_flight() == 1
    clock.now += 1.0
    never(nodes.decoder._drawing._decoder, "interpolate")
    late = Request(0, {"body": ticket.body}, {"x-eden-stream": stream}, caller, arrived=clock.now)
    is_dropped(nodes.decoder.serve([late], Outbox())[0], "drawing")
    assert nodes.handoff.in_flight() == 0


def test_what_became_late_while_it_was_taken_is_not_drawn(nodes, clock, request_of, monkeypatch, never):
    (ticket,) = nodes.encoder.serve([request_of()])
    monkeypatch.setattr(nodes.handoff, "take", clock.passes_after(nodes.handoff.take))
    never(nodes.decoder._drawing._decoder, "interpolate")
    (answer,) = nodes.decoder.serve([Request(0, {"body": ticket.body}, {}, arrived=clock.now)], Outbox())
    is_dropped(answer, "drawing")


def test_of_two_deadlines_the_earlier_counts(nodes, clock, request_of):
    def decoder_after(seconds: float, deadline_ms: str) -> int:
        (ticket,) = nodes.encoder.serve([request_of()])
        clock.now += seconds
        asked = Request(0, {"body": ticket.body}, {"x-eden-deadline-ms": deadline_ms}, arrived=clock.now - 0.1)
        return nodes.decoder.serve([asked], Outbox())[0].status

    assert decoder_after(0.9, "86400000") == 200
    assert decoder_after(1.0, "86400000") == 504  # the ticket's cannot be put off
    assert decoder_after(0.5, "100") == 504  # the decoder's own caller waits for less


@pytest.mark.parametrize("node", ["decoder", "fused"])
def test_a_stream_ends_between_pairs_and_says_why(nodes, clock, request_of, monkeypatch, node):
    whole = request_of(6, x_eden_format="npy", x_eden_stream="1")
    if node == "decoder":
        (ticket,) = nodes.encoder.serve([whole])
        whole = replace(whole, fields={"body": ticket.body})
    decoder = nodes.fused._drawing._decoder
    monkeypatch.setattr(decoder, "interpolate", clock.passes_after(decoder.interpolate, 0.4))
    outbox = Outbox()
    (answer,) = getattr(nodes, node).serve([whole], outbox)
    assert len(outbox.parts[0]) == 3
    assert answer.status == 200 and answer.body.endswith(b"--eden-frame--\r\n")
    told = json.loads(answer.body.split(b"\r\n\r\n")[1].split(b"\r\n")[0])
    assert told["type"] == "DeadlinePassed" and "before the next of its frames" in told["message"]


@pytest.mark.parametrize("node", ["decoder", "fused", "fused in windows"])
def test_a_long_clip_is_given_up_between_its_frames(make_nodes, clock, request_of, monkeypatch, node):
    monkeypatch.setattr(decode, "SLICE", 2)
    window = make_nodes().layout.nbytes(5, 64, 96) if node == "fused in windows" else 1 << 30
    nodes = make_nodes(clock=clock, window_bytes=window)
    drawing = nodes.fused._drawing
    interpolate, drawn = drawing._decoder.interpolate, []

    def counted(outputs, **options):
        drawn.append(sum(len(output) - 1 for output in outputs))
        return interpolate(outputs, **options)

    def serve(request: Request):
        drawn.clear()
        if node != "decoder":
            return nodes.fused.serve([request], Outbox())[0]
        (ticket,) = nodes.encoder.serve([request])
        return nodes.decoder.serve([replace(request, fields={"body": ticket.body})], Outbox())[0]

    monkeypatch.setattr(drawing._decoder, "interpolate", counted)
    in_time = serve(request_of(10))
    without = serve(replace(request_of(10), headers={}))
    assert_same(frames(in_time.body), frames(without.body))
    monkeypatch.setattr(drawing._decoder, "interpolate", clock.passes_after(counted, 0.4))
    is_dropped(serve(request_of(10)), "next of its frames")
    assert drawn == [2, 2, 2]


def test_one_that_is_late_spares_the_others_of_its_batch(nodes, clock, request_of):
    late, others = request_of(), [request_of(index=i, seed=i, x_eden_deadline_ms="86400000") for i in (1, 2)]
    clock.now += 1.0
    first, *rest = nodes.fused.serve([late, *others], Outbox())
    is_dropped(first, "decoding of its frames")
    assert [frames(answer.body).shape for answer in rest] == [(1, 64, 96, 3)] * 2
