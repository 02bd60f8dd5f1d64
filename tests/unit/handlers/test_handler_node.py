"""What both nodes say when they start."""

import sys
from types import SimpleNamespace

import pytest

from handlers.node import NodeHandler
from handlers.quirks import worker_slot
from serving.answer import Answer
from serving.request import Caller, Request
from tests.otlp_receiver import receiver
from tests.unit.handlers.told_lines import declared_metrics


class Idle(NodeHandler):
    """A node without a model."""

    def start(self) -> None:
        pass

    def serve(self, requests, outbox):
        raise NotImplementedError


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts such a node, as TorchServe does on a host without a GPU."""
    monkeypatch.setenv("EDEN_SERVER_FOLDER", str(tmp_path))
    monkeypatch.setattr("handlers.node.Reporter.start", lambda self: None)  # it would tell as long as the process lives
    metrics = declared_metrics("node")
    started = []

    def _start(kind: str, batch: int, **yaml) -> NodeHandler:
        context = SimpleNamespace(
            system_properties={"gpu_id": None, "model_dir": str(tmp_path), "batch_size": batch},
            model_yaml_config={"handler": {"handoff": {"kind": kind, "shared_folder": str(tmp_path)}}, **yaml},
            metrics=metrics,
            model_name="eden__encoder",
        )
        started.append(Idle())
        started[-1].initialize(context)
        return started[-1]

    yield _start
    for stage in started:
        stage.handoff.close()


def test_inline_with_batches_is_warned_of_and_why_is_said(start, caplog):
    start("inline", 8)
    assert "inline with batches of up to 8: every clip's tensors pass through TorchServe" in caplog.text


@pytest.mark.parametrize(("kind", "batch"), [("inline", 1), ("shared_memory", 8)])
def test_alone_or_by_another_kind_there_is_nothing_to_warn_of(start, caplog, kind, batch):
    start(kind, batch)
    assert caplog.text == ""


def test_pictures_are_decoded_by_as_many_threads_as_the_container_grants_cores(start, grant_cores):
    grant_cores(3)
    assert start("inline", 1).pictures._max_workers == 3


def test_without_the_gpu_that_it_asks_for_it_runs_where_it_can_and_says_so(start, caplog):
    assert start("inline", 1, deviceIds=[1]).device == "cpu"
    assert "deviceIds asks for GPU [1], this process sees 0: running on cpu" in caplog.text


def test_a_start_is_counted_in_the_workers_place_though_loading_fails(start, told, monkeypatch):
    monkeypatch.setattr("sys.argv", ["worker.py", "--sock-type", "unix", "--sock-name", "/tmp/a.b/.ts.sock.9002"])
    monkeypatch.setattr(Idle, "start", lambda self: (_ for _ in ()).throw(ValueError("no checkpoint")))
    told.model = "node"
    for starts in (1, 2):
        with pytest.raises(ValueError, match="no checkpoint"):
            start("inline", 1)
        assert told.of("eden_worker_starts_total") == {("9002",): starts}


@pytest.mark.parametrize(
    ("arguments", "place"), [(["--sock-type", "tcp", "--port", "9003"], "9003"), ([], "0"), (["--port"], "0")]
)
def test_a_workers_place_is_what_torchserve_called_it(monkeypatch, arguments, place):
    monkeypatch.setattr("sys.argv", ["worker.py", *arguments])
    assert worker_slot() == place


def collecting(url: str, folder) -> dict:
    return {"handoff": {"kind": "inline", "shared_folder": str(folder)}, "tracing": {"endpoint": url, "sample": 1}}


def test_spans_go_to_the_collector_that_is_set(start, tmp_path):
    with receiver() as collector:
        tracer = start("inline", 1, handler=collecting(collector.url, tmp_path)).metrics.tracer
        request = Request(0, {}, {}, Caller.HTTP, id="its-id")
        tracer.begin([request])
        tracer.leave(request, Answer(b"frame", "image/png"))
        (span,) = collector.wait_for(1)
    told = {attribute.key: attribute.value.string_value for attribute in span.attributes}
    assert (span.name, told["eden.request_id"]) == ("encoder", "its-id")
    assert collector.resources == [("eden__encoder", "encoder")]


def test_a_collector_is_set_and_nothing_there_to_speak_to_it(start, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValueError, match=r"opentelemetry.* is not installed \(pip install '.*\[tracing\]'\)"):
        start("inline", 1, handler=collecting("http://127.0.0.1:1", tmp_path))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    assert start("inline", 1).metrics.tracer
    assert "no spans can go to http://127.0.0.1:1/v1/traces" in caplog.text
