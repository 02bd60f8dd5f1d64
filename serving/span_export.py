"""Spans to an OpenTelemetry collector (OTLP, protobuf over HTTP), off the path of requests.

OpenTelemetry's packages, an extra of the distribution (`tracing`), are imported only once spans are to be exported.
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
"""OpenTelemetry's own: where spans go, in full; and where all goes, to which the path is added."""
PATH = "/v1/traces"
TOGETHER = 512
"""Spans of one message."""
EVERY = 1.0
"""Seconds that a span waits for others."""
LAST = 2.0
"""Seconds that a worker which ends gives to what it has not told yet."""
EVENTS = ("exported", "dropped", "failed")
"""What becomes of a span: told; not kept, as too many waited; not told, as the collector did not take it."""

Counted = Callable[[str, int], None]


def endpoint(named: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where spans go: what a setting names, or the environment; None where nothing does."""
    if named:
        return named.rstrip("/") + PATH
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    whole, base = (environment.get(name, "").strip() for name in VARIABLES)
    return whole or (base.rstrip("/") + PATH if base else None)


class SpanExport:
    """Keeps spans in memory until a thread of its own has told them, or gives them up where too many wait.

    url      of the collector's traces
    service  what says so of itself, `service.name`
    place    attributes that all spans have: said once, of the resource, they cost nothing per span
    most     spans that may wait
    counted  told how many spans an event is of, see EVENTS; by any thread

    Headers, certificates, compression and the time limit are those of OpenTelemetry's variables (OTEL_EXPORTER_OTLP_*).
    A collector on this host is reached without a proxy, whatever the environment names.
    Raises ModuleNotFoundError where OpenTelemetry's packages are not installed.
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
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it says each attempt; we count
        self._told_of_failure = -60.0
        threading.Thread(target=self._run, name="spans", daemon=True).start()
        atexit.register(self.close)

    def __call__(self, spans: Sequence[Span]) -> None:
        """Have these told."""
        dropped = 0
        for span in spans:
            try:
                self._waiting.put_nowait(span)
            except queue.Full:
                dropped += 1
        if dropped:
            self._counted("dropped", dropped)

    def close(self) -> None:
        """Tell what waits, if that is quick. What comes later is not told."""
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
        """Spans that came within a while of the first; whether there may be more."""
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
            logger.warning("the collector takes no spans at the moment: %d are lost", len(spans))

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
