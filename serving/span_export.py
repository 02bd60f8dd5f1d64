"""Exports spans to an OpenTelemetry collector (OTLP, protobuf over HTTP); no request waits for it.

OpenTelemetry's packages, the distribution's extra `tracing`, are imported only if spans are exported.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from handoff.settings import is_loopback
from tracing.spans import Span, Value

logger = logging.getLogger(__name__)

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's variables: the full URL for spans; and the base URL for everything, to which PATH is added."""
PATH = "/v1/traces"
TOGETHER = 512
"""Most spans per message."""
EVERY = 1.0
"""Seconds that a span waits for others."""
LAST = 2.0
"""Seconds that a worker spends on exporting the last spans before it ends."""
EVENTS = ("exported", "dropped", "failed")
"""What becomes of a span: exported; dropped, as too many waited; failed, as the collector did not accept it."""

Counted = Callable[[str, int], None]


def endpoint(named: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL for spans, from the setting or else the environment; None if neither names one."""
    if named:
        return named.rstrip("/") + PATH
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    whole, base = (environment.get(name, "").strip() for name in VARIABLES)
    return whole or (base.rstrip("/") + PATH if base else None)


class SpanExport:
    """Keeps spans in memory until its thread has exported them; drops them if too many wait.

    url      where the collector accepts traces
    service  the attribute `service.name`
    place    attributes of all spans: sent once per message, as attributes of the resource
    most     spans that may wait
    counted  called with an event (see EVENTS) and a number of spans; from any thread

    Headers, certificates, compression and the time limit come from OpenTelemetry's variables (OTEL_EXPORTER_OTLP_*).
    A collector on this host is reached without a proxy, whatever the environment says.
    Raises ModuleNotFoundError if OpenTelemetry's packages are not installed.
    """

    def __init__(self, url: str, service: str, place: Mapping[str, Value], most: int, counted: Counted) -> None:
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        session = requests.Session()
        session.trust_env = not is_loopback(urlsplit(url).hostname or "")
        self._exporter = OTLPSpanExporter(endpoint=url, session=session)
        self._resource = Resource({"service.name": service, "host.name": socket.gethostname(), **place})
        self._place = set(place)
        self._counted = counted
        self._waiting: queue.Queue[Span | None] = queue.Queue(most)
        self._ended = threading.Event()
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it logs every try; here failures are counted
        self._told_of_failure = -60.0
        threading.Thread(target=self._run, name="spans", daemon=True).start()
        atexit.register(self.close)

    def __call__(self, spans: Sequence[Span]) -> None:
        """Queue spans for export."""
        dropped = 0
        for span in spans:
            try:
                self._waiting.put_nowait(span)
            except queue.Full:
                dropped += 1
        if dropped:
            self._counted("dropped", dropped)

    def close(self) -> None:
        """Export the spans that wait, within LAST seconds; later spans are not exported."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._ended.wait(LAST)

    def _run(self) -> None:
        going = True
        while going:
            spans, going = self._next()
            if spans:
                self._export(spans)
        self._ended.set()

    def _next(self) -> tuple[list[Span], bool]:
        """(the next spans to export together; whether more may follow)."""
        spans: list[Span] = []
        ends = None
        while len(spans) < TOGETHER:
            try:
                left = None if ends is None else max(0.0, ends - time.monotonic())
                span = self._waiting.get(timeout=left)
            except queue.Empty:
                break
            if span is None:
                return spans, False
            ends = ends or time.monotonic() + EVERY
            spans.append(span)
        return spans, True

    def _export(self, spans: Sequence[Span]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            done = self._exporter.export(list(self._as_theirs(spans))) is SpanExportResult.SUCCESS
        except Exception:
            logger.exception("spans cannot be exported")
            done = False
        self._counted("exported" if done else "failed", len(spans))
        if not done and time.monotonic() - self._told_of_failure >= 60:
            self._told_of_failure = time.monotonic()
            logger.warning("the collector did not accept %d spans: they are lost", len(spans))

    def _as_theirs(self, spans: Iterable[Span]) -> Iterable[Any]:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def of(trace_id: str, span_id: str, is_remote: bool) -> SpanContext:
            return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))

        for span in spans:
            is_node = span.name == span.attributes.get("eden.node")
            yield ReadableSpan(
                name=span.name,
                context=of(span.trace_id, span.span_id, False),
                parent=of(span.trace_id, span.parent_id, is_node) if span.parent_id else None,
                resource=self._resource,
                attributes={name: value for name, value in span.attributes.items() if name not in self._place},
                kind=SpanKind.SERVER if is_node else SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=InstrumentationScope("eden"),
            )
