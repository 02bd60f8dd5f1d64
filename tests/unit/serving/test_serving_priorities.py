"""Of those that came together the most urgent are served first, and nobody waits for what is served after."""

from __future__ import annotations

import json

import pytest

import media
from handoff import OverCapacity
from media.terms import PRIORITIES
from serving.admission import Admission
from serving.encode import TICKET
from serving.request import Caller, Request
from tests.e2e.servers import moving_frames
from tests.unit.serving.conftest import Outbox


def request(index: int, count: int, priority: str, caller: Caller = Caller.HTTP, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"x-eden-priority": priority}
    return Request(index, {"body": media.encode_npy(moving_frames(count, 64, 96, index))}, named, caller)


@pytest.fixture
def drawn(nodes, monkeypatch) -> list[list[int]]:
    """Pairs of the clips that were drawn together, in the order of drawing."""
    drawing, counts = nodes.fused._drawing, []
    interpolate = drawing._decoder.interpolate

    def counted(outputs, **options):
        counts.append([len(output) - 1 for output in outputs])
        return interpolate(outputs, **options)

    monkeypatch.setattr(drawing._decoder, "interpolate", counted)
    return counts


def finished(outbox: Outbox) -> list[int]:
    return [index for index, _ in outbox.finished]


def test_a_lone_live_pair_is_answered_before_the_clips_of_its_batch_are_read(nodes, drawn, monkeypatch):
    outbox, read = Outbox(ends=True), []
    decode_npy = media.decode_npy

    def noted(*args, **options):
        read.append(finished(outbox))
        return decode_npy(*args, **options)

    monkeypatch.setattr(media, "decode_npy", noted)
    batch = [request(0, 6, "batch"), request(1, 4, "interactive"), request(2, 2, "live"), request(3, 5, "batch")]
    answers = nodes.fused.serve(batch, outbox)
    assert drawn == [[1], [3], [5, 4]]
    assert read == [[], [2], [2, 1], [2, 1]]
    assert [bool(answer.body) for answer in answers] == [True, False, False, True]  # the others have gone


def test_tickets_of_the_live_are_not_held_back_by_clips(nodes):
    outbox = Outbox(ends=True)
    nodes.encoder.serve([request(0, 6, "batch"), request(1, 2, "live")], outbox)
    assert [(index, answer.content_type) for index, answer in outbox.finished] == [(1, TICKET)]


def test_a_ticket_is_as_urgent_as_its_request_was(nodes, drawn):
    asked = [request(0, 6, "batch"), request(1, 2, "live")]
    tickets = nodes.encoder.serve(asked)
    outbox = Outbox(ends=True)
    nodes.decoder.serve(
        [Request(i, {"body": ticket.body}, {}, Caller.WORKFLOW) for i, ticket in enumerate(tickets)], outbox
    )
    assert drawn == [[1], [5]] and finished(outbox) == [1]


@pytest.mark.parametrize("node", ["encoder", "fused"])
def test_what_is_refused_does_not_wait_for_what_is_served(nodes, monkeypatch, node):
    outbox = Outbox(ends=True)
    monkeypatch.setattr(
        media, "decode_npy", lambda *_, **__: pytest.fail("the refusal waits") if not outbox.finished else None
    )
    getattr(nodes, node).serve([request(0, 2, "interactive"), request(1, 2, "urgent")], outbox)
    ((index, answer),) = outbox.finished
    assert (index, answer.status) == (1, 400)


def test_a_refusal_in_a_workflow_is_signed_before_it_goes(nodes):
    outbox = Outbox(ends=True)
    nodes.encoder.serve([request(0, 2, "live"), request(1, 2, "urgent", Caller.WORKFLOW)], outbox)
    ((_, answer),) = outbox.finished
    assert json.loads(nodes.handoff.read_refusal(answer.body))["code"] == 400


def test_whole_clips_do_not_wait_for_streams_nor_short_streams_for_long_ones(nodes, drawn):
    streamed = {"x_eden_stream": "1", "x_eden_format": "npy"}
    batch = [request(0, 5, "live", **streamed), request(1, 2, "live"), request(2, 3, "live", **streamed)]
    outbox = Outbox(ends=True)
    nodes.fused.serve(batch, outbox)
    assert drawn == [[1], [1, 1], [1, 1], [1], [1]]
    assert finished(outbox) == [1, 2]
    assert {index: len(parts) for index, parts in outbox.parts.items()} == {0: 4, 2: 2}


def test_where_all_are_alike_they_are_drawn_together(nodes, drawn):
    outbox = Outbox(ends=True)
    nodes.fused.serve([request(i, 3, "batch") for i in range(3)], outbox)
    assert drawn == [[2, 2, 2]] and not outbox.finished


class Surplus:
    """A backlog of so many too many."""

    most = 256

    def __init__(self, count: int) -> None:
        self.count = count

    def batch(self, full: bool) -> None:
        assert full

    def is_surplus(self) -> bool:
        self.count -= 1
        return self.count >= 0


def test_the_least_urgent_of_a_batch_are_the_first_to_be_refused():
    admission = Admission(4, Surplus(2))
    batch = [Request(i, {}, {}, priority=priority) for i, priority in enumerate((*reversed(PRIORITIES), "live"))]
    admission.begin(4, batch)
    admitted = []
    for each in batch:
        try:
            admitted.append(admission.admit(each).priority)
        except OverCapacity:
            continue
    assert admitted == ["live", "live"]
