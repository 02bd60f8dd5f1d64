"""What a node tells of its requests: how long each took, by which way, and why one was refused."""

from __future__ import annotations

import time

import pytest
import torch

from eden import Encoder
from eden.random_weights import write_random
from handlers.metrics import Metrics
from handlers.quirks import NodePosition
from handlers.reporter import Reporter
from handoff import HandoffSettings, open_handoff
from serving.answer import Answer
from serving.errors import REFUSALS, TooLarge, envelope, reason
from serving.request import Caller, Request

BUSY = Answer(b"{}", "application/json", 503, "wait")
GOOD = Answer(b"frame", "image/png")


@pytest.fixture
def make(told):
    """Makes the metrics of a node, whose start has been told."""

    def _make(position: NodePosition, handoff=None, batch_size: int = 4) -> tuple[Metrics, Reporter]:
        reporter = Reporter(told.metrics())
        metrics = Metrics(reporter, "cpu", batch_size, position, handoff, "9001")
        reporter.tell()
        return metrics, reporter

    return _make


def request(index: int, caller: Caller = Caller.WORKFLOW, ago: float = 0.0) -> Request:
    return Request(index, {}, {}, caller, arrived=time.time() - ago)


def total(told, metric: str, *labels: str) -> tuple[float, float]:
    """How many a histogram has counted, and their seconds."""
    return told.of(f"{metric}_count")[labels], told.of(f"{metric}_sum")[labels]


@pytest.mark.parametrize(
    ("position", "topologies", "calls"),
    [
        (NodePosition.FIRST, ["split", "chain"], []),
        (NodePosition.LAST, ["split", "chain"], ["split"]),
        (NodePosition.ALONE, ["fused"], ["fused"]),
    ],
)
def test_a_node_that_has_done_nothing_yet_says_zero(make, told, position, topologies, calls):
    make(position)
    assert told.of("eden_request_seconds_count") == {(topology,): 0 for topology in topologies}
    assert told.of("eden_call_seconds_count") == {(topology,): 0 for topology in calls}
    assert told.of("eden_refused_total") == {(str(code), why): 0 for code, why in REFUSALS}
    assert told.of("eden_requests_total") == told.of("eden_batches_total") == {(): 0}
    assert not told.of("eden_last_answer_timestamp_seconds")  # that would say that it has answered


def test_each_request_of_a_batch_counts_from_when_it_came_until_it_left(make, told):
    metrics, reporter = make(NodePosition.FIRST)
    now = time.time()
    requests = [request(0, ago=1000), request(1, Caller.HTTP, ago=1000), request(2, Caller.GRPC, ago=1000)]
    metrics.batch(requests, [GOOD] * 3, {1: now - 600})  # a large answer that went ahead
    reporter.tell()
    assert total(told, "eden_request_seconds", "split") == (1, pytest.approx(1000, abs=60))
    count, seconds = total(told, "eden_request_seconds", "chain")
    assert (count, seconds) == (2, pytest.approx(1400, abs=60))
    assert told.of("eden_last_answer_timestamp_seconds")[()] == pytest.approx(now, abs=60)


def test_a_refusal_counts_by_its_reason_and_in_no_histogram(make, told):
    metrics, reporter = make(NodePosition.ALONE)
    metrics.batch([request(0), request(1)], [BUSY, Answer(b"{}", "application/json", 400, "BadRequest")], {})
    reporter.tell()
    counted = {labels: value for labels, value in told.of("eden_refused_total").items() if value}
    assert counted == {("503", "wait"): 1, ("400", "BadRequest"): 1}
    assert total(told, "eden_request_seconds", "fused") == total(told, "eden_call_seconds", "fused") == (0, 0)
    assert told.of("eden_requests_total") == {(): 2}
    assert not told.of("eden_last_answer_timestamp_seconds")


def test_a_call_by_the_workflow_counts_from_the_encoder_on_and_one_by_hand_does_not(make, told):
    metrics, reporter = make(NodePosition.LAST)
    metrics.began(0, time.time() - 1000)
    metrics.batch([request(0, ago=1), request(1, Caller.HTTP, ago=1)], [GOOD, GOOD], {})
    metrics.batch([request(0, Caller.HTTP, ago=1)], [GOOD], {})  # at the same place of the next batch
    reporter.tell()
    assert total(told, "eden_call_seconds", "split") == (1, pytest.approx(1000, abs=60))
    assert [total(told, "eden_request_seconds", way)[0] for way in ("split", "chain")] == [1, 2]


def test_a_batch_is_full_when_it_is(make, told):
    metrics, reporter = make(NodePosition.ALONE, batch_size=2)
    for size in (1, 2):
        metrics.batch([request(index) for index in range(size)], [GOOD] * size, {})
    reporter.tell()
    assert told.of("eden_batches_full_total") == {(): 1}
    assert told.of("eden_batches_total") == {(): 2}


def test_a_stage_is_timed_though_it_fails(make, told):
    metrics, reporter = make(NodePosition.FIRST)
    with pytest.raises(ZeroDivisionError), metrics.stage("encode", []):
        _ = 1 / 0
    reporter.tell()
    assert told.of("eden_stage_seconds_count")["encode",] == 1


def test_memory_that_ran_out_is_counted_once(make, told):
    metrics, reporter = make(NodePosition.ALONE)
    times = [0]
    metrics.watch("decoder", lambda: times[0])
    for times[0] in (0, 2, 2, 5):
        reporter.tell()
    assert told.of("eden_out_of_memory_total") == {("decoder",): 5}


def test_what_the_hand_off_holds_goes_up_and_down_by_itself(make, told, tmp_path):
    write_random(tmp_path / "weights")
    output = Encoder.load(tmp_path / "weights").encode(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    settings = HandoffSettings(kind="in_process", folder=tmp_path, shared_folder=tmp_path, max_in_flight=9)
    with open_handoff(settings) as handoff:
        _, reporter = make(NodePosition.FIRST, handoff)
        assert told.of("eden_in_flight") == told.of("eden_in_flight_bytes") == {("9001",): 0}
        assert told.of("eden_in_flight_limit") == {("9001",): 9}
        assert told.of("eden_handoff_budget_bytes") == {("9001",): settings.budget_bytes}
        tickets = [handoff.put(output) for _ in range(2)]
        reporter.tell()
        assert told.of("eden_in_flight") == {("9001",): 2}
        (nbytes,) = told.of("eden_in_flight_bytes").values()
        assert nbytes == 2 * handoff.read(tickets[0]).layout.nbytes
        for ticket in tickets:
            handoff.take(ticket)
        reporter.tell()
        assert told.of("eden_in_flight") == told.of("eden_in_flight_bytes") == {("9001",): 0}
        assert told.of("eden_handoff_events_total")["take", "in_process"] == 2
        assert told.of("eden_handoff_bytes_total")["put", "in_process"] == nbytes


def test_an_errors_reason_is_its_name_or_the_bound_that_was_reached():
    known = {(status, why) for status, why in REFUSALS}
    error = TooLarge("of another size")
    assert (envelope(error)["code"], reason(error)) == (413, "TooLarge") and (413, "TooLarge") in known
    assert (envelope(KeyError("x"))["code"], reason(KeyError("x"))) == (500, "InternalError")
    assert (500, "InternalError") in known
    busy = {why for status, why in known if status == 503}
    assert busy == {"room", "in_flight", "queued", "wait", "draining", "DeviceLost", "OutOfMemory"}
