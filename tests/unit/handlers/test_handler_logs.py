"""Lines of a worker's log: ids of requests and traces, as text and as JSON."""

from __future__ import annotations

import io
import json
import logging

import pytest

from handlers.log_lines import JsonLines, log_batch
from serving.answer import Answer
from serving.request import Caller, Request
from serving.tracer import Tracer
from tracing.context import TraceContext

CALL = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
REQUESTS = [
    Request(0, {}, {"traceparent": str(CALL)}, Caller.HTTP, id="first"),
    Request(1, {}, {}, Caller.HTTP, id="second"),
]
ANSWERS = [Answer(b"frame", "image/png"), Answer(b"{}", "application/json", 400)]


@pytest.fixture
def lines():
    """A logger of ours and one of TorchServe's, whose lines are JSON where they are ours; and what they wrote."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines(logging.Formatter("%(message)s")))
    loggers = [logging.getLogger(name) for name in ("handlers.test", "ts.test")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield *loggers, written
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.fixture
def tracer():
    tracer = Tracer("encoder", "9000", "gives")
    tracer.begin(REQUESTS)
    return tracer


def test_a_batchs_line_names_its_requests_and_their_traces(caplog, tracer):
    caplog.set_level(logging.INFO)
    log_batch(logging.getLogger("handlers.node"), REQUESTS, ANSWERS, tracer, 0.25)
    (record,) = caplog.records
    expected = f"batch of 2, 1 refused, 250.0 ms: first 200 {CALL.trace_id}, second 400"
    assert record.getMessage() == expected


def test_as_json_it_says_the_same_and_what_torchserve_reads_stays_as_it_is(lines, tracer):
    ours, torchserves, written = lines
    log_batch(ours, REQUESTS, ANSWERS, tracer, 0.25)
    torchserves.info("[METRICS]HandlerTime.ms:1|#ModelName:x")
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        ours.error("request %s failed", "first", exc_info=error)
    batch, metric, failed = written.getvalue().splitlines()
    told = json.loads(batch)
    assert told["requests"] == [
        {"id": "first", "status": 200, "trace": CALL.trace_id},
        {"id": "second", "status": 400},
    ]
    assert (told["ms"], told["level"], told["logger"]) == (250.0, "INFO", "handlers.test")
    assert metric == "[METRICS]HandlerTime.ms:1|#ModelName:x"
    assert "ZeroDivisionError" in json.loads(failed)["exception"] and "first" in json.loads(failed)["message"]
