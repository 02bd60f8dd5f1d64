"""When the server makes a call of its own, which, and what it says of the answer."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from server.api import Api
from server.tokens import Tokens
from server.topology import ALONE, BOTH, FUSED, LIVE, NODES, SPLIT, WORKFLOW
from server.watch import Watch, pair
from tests.serving_thread import serving

ENCODER, DECODER = NODES


class Served(ThreadingHTTPServer):
    """Metrics that say when models answered last, and models that answer a call with their name, or with a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.ago: dict[str, float] = {}
        """Seconds since each model's last answer"""
        self.status: dict[str, int] = {}
        self.calls: list[tuple[str, bytes]] = []


class Answers(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        name = "eden_last_answer_timestamp_seconds"
        lines = [
            f'{name}{{ModelName="{model}",Level="Model",Hostname="h",}} {time.time() - ago!r}\n'
            for model, ago in self.server.ago.items()
        ]
        self._answer(200, f"# TYPE {name} gauge\n{''.join(lines)}".encode())

    def do_POST(self) -> None:
        model = self.path.rpartition("/")[2]
        self.server.calls.append((model, self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(self.server.status.get(model, 200), model.encode())

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served()) as server:
        yield server


@pytest.fixture
def watch(served, tmp_path):
    def make(topology) -> Watch:
        url = f"http://127.0.0.1:{served.server_port}"
        return Watch(Api(url, url, Tokens(tmp_path, url)), f"{url}/metrics", topology, every=3600)

    return make


def test_while_callers_are_answered_it_calls_nothing(served, watch):
    served.ago = {ENCODER: 0, DECODER: 60, FUSED: 60}
    watch(BOTH).look()
    assert served.calls == []


@pytest.mark.parametrize("ago", [{}, {ENCODER: 0}, {ENCODER: 0, DECODER: 4000}, {ENCODER: 4000, DECODER: 0}])
def test_where_a_node_is_silent_a_pair_goes_through_both_and_not_by_the_workflow(served, watch, ago):
    served.ago = ago
    watch(SPLIT).look()
    assert served.calls == [(ENCODER, pair()), (DECODER, ENCODER.encode())]


def test_each_way_is_called_where_it_is_silent(served, watch):
    served.ago = {ENCODER: 0, DECODER: 0, FUSED: 4000}
    watch(BOTH).look()
    assert served.calls == [(FUSED, pair())]


def test_the_model_for_the_most_urgent_is_watched_where_there_is_one(served, watch):
    served.ago = {FUSED: 0}
    watch(ALONE.with_live()).look()
    assert served.calls == [(LIVE, pair())]


def test_where_the_encoder_is_too_busy_for_callers_the_workflow_is_asked(served, watch, caplog):
    served.status = {ENCODER: 503}
    watch(SPLIT).look()
    assert served.calls == [(ENCODER, pair()), (WORKFLOW, pair())]
    assert caplog.text == ""


def test_what_goes_wrong_is_said_once_and_when_it_is_over(served, watch, caplog):
    caplog.set_level(logging.INFO, "server.watch")
    served.status = {ENCODER: 507}
    watching = watch(SPLIT)
    for _ in range(3):
        watching.look()
    assert [model for model, _ in served.calls] == [ENCODER] * 3  # the workflow's call would only leak a thread
    served.status = {}
    watching.look()
    assert [record.getMessage() for record in caplog.records] == [
        f"a pair sent to {DECODER}: /predictions/{ENCODER} answered 507: {ENCODER}",
        f"a pair sent to {DECODER} is answered again",
    ]


def test_a_server_that_cannot_be_reached_is_a_complaint_and_no_end(served, watch, caplog):
    watching = watch(ALONE)
    watching._metrics_url = "http://127.0.0.1:9/metrics"  # the discard port: nobody listens
    watching.look()
    assert "no answer" in caplog.text and served.calls == []


def test_the_pair_is_one():
    frames = np.load(io.BytesIO(pair()))
    assert frames.shape == (2, 64, 64, 3) and frames.dtype == np.uint8
    assert (frames[1] != frames[0]).any()
