"""Spans on their way to a collector that is there, that is slow, and that is gone."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Told
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from serving.settings import Settings, SettingsError
from serving.span_export import SpanExport, endpoint
from tests.nobody import nobody
from tests.otlp_receiver import receiver
from tests.recorder import recorder
from tracing.context import new_id
from tracing.spans import Span

TRACE = new_id(16)


def spans(count: int, **attributes) -> list[Span]:
    return [Span("encode", TRACE, new_id(8), new_id(8), 10**18 + i, 10**18 + i + 5, attributes) for i in range(count)]


class Counted(Counter[str]):
    """What became of spans, which can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, event: str, count: int) -> None:
        with self._changed:
            self[event] += count
            self._changed.notify_all()

    def wait_for(self, event: str, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self[event] >= count, 120), dict(self)


@pytest.fixture(autouse=True)
def waited_for(monkeypatch):
    """OpenTelemetry's own time limit, in seconds."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")


def test_a_collector_gets_each_span_with_all_that_is_known_of_it():
    with receiver() as collector:
        counted = Counted()
        export = SpanExport(f"{collector.url}/v1/traces", "eden__encoder", {"eden.node": "encoder"}, 100, counted)
        parent = Span("encoder", TRACE, new_id(8), None, 5, 50, {"eden.node": "encoder", "eden.frames": 2, "x": 0.5})
        child = Span("put", TRACE, new_id(8), parent.span_id, 6, 40, {"error.type": "OverCapacity", "y": True})
        export([parent, child])
        first, second = collector.wait_for(2)
        counted.wait_for("exported", 2)
        export.close()
    assert collector.resources == [("eden__encoder", "encoder")]
    assert (first.name, first.trace_id.hex(), first.span_id.hex()) == ("encoder", TRACE, parent.span_id)
    assert (first.parent_span_id, first.start_time_unix_nano, first.end_time_unix_nano) == (b"", 5, 50)
    assert (first.kind, second.kind) == (Told.SPAN_KIND_SERVER, Told.SPAN_KIND_INTERNAL)
    values = {attribute.key: attribute.value for attribute in first.attributes}
    assert (values["eden.frames"].int_value, values["x"].double_value) == (2, 0.5)
    assert "eden.node" not in values  # the resource says it
    assert second.parent_span_id.hex() == parent.span_id
    assert (first.status.code, second.status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)


def test_a_dead_collector_costs_nobody_time_and_what_is_lost_is_counted(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    counted = Counted()
    with nobody() as address:
        export = SpanExport(f"http://{address}/v1/traces", "eden", {}, 100, counted)
        for _ in range(3):
            export(spans(2))
        counted.wait_for("failed", 6)
        assert not counted["exported"]
        export.close()


def test_a_collector_that_hangs_holds_up_its_own_thread_alone():
    with receiver(answers=False) as collector:
        counted = Counted()
        export = SpanExport(f"{collector.url}/v1/traces", "eden", {}, 100, counted)
        export(spans(1))
        assert collector.called.wait(120)
        callers = [threading.Thread(target=export, args=(spans(50),), daemon=True) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(120)
            assert not caller.is_alive()
        assert dict(counted) == {"dropped": 100}
        collector.answers = True
        collector.ended.set()
        counted.wait_for("exported", 101)
        export.close()
    assert len(collector.spans) == 101


def test_what_waits_when_the_worker_ends_is_told_first(monkeypatch):
    monkeypatch.setattr("serving.span_export.EVERY", 3600.0)
    monkeypatch.setattr("serving.span_export.LAST", 120.0)
    with receiver() as collector:
        export = SpanExport(f"{collector.url}/v1/traces", "eden", {}, 100, Counted())
        export(spans(3))
        export.close()
        assert len(collector.spans) == 3


def test_a_collector_on_this_host_is_reached_without_a_proxy(monkeypatch):
    with receiver() as collector, recorder() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        export = SpanExport(f"{collector.url}/v1/traces", "eden", {}, 100, Counted())
        export(spans(1))
        collector.wait_for(1)
        export.close()
        assert not proxy.heard


@pytest.mark.parametrize(
    ("named", "environment", "expected"),
    [
        (None, {}, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("http://c:4318/", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d:1"}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d:1/base/"}, "http://d:1/base/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://e:1/own"}, "http://e:1/own"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d:1", "OTEL_SDK_DISABLED": "true"}, None),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None),
    ],
)
def test_where_spans_go(named, environment, expected):
    assert endpoint(named, environment) == expected


def test_settings(tmp_path):
    read = Settings.read({"handler": {"tracing": {"endpoint": "http://c:4318", "sample": 0.5}}}, tmp_path)
    assert (read.tracing.endpoint, read.tracing.sample) == ("http://c:4318", 0.5)
    with pytest.raises(SettingsError, match=r"tracing\.sample"):
        Settings.read({"handler": {"tracing": {"sample": 2}}}, tmp_path)
