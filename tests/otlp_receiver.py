"""A collector of spans: takes OTLP's protobuf over HTTP, as any of OpenTelemetry's does, and keeps them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """What has come so far. `answers`: whether it takes spans; else it keeps who calls waiting."""

    def __init__(self, answers: bool = True) -> None:
        self.spans: list[Any] = []
        self.resources: list[tuple[str, str]] = []
        """service.name and eden.node of each resource that had spans"""
        self.called = threading.Event()
        self.ended = threading.Event()
        self.answers = answers
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.called.set()
                if not receiver.answers:
                    receiver.ended.wait()
                    return
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self._changed:
            for each in request.resource_spans:
                told = {attribute.key: attribute.value.string_value for attribute in each.resource.attributes}
                self.resources.append((told["service.name"], told.get("eden.node", "")))
                self.spans += [span for scope in each.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def wait_for(self, count: int, seconds: float = 120) -> list[Any]:
        """All spans, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spans) >= count, seconds), f"{len(self.spans)} have come"
            return list(self.spans)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def receiver(answers: bool = True) -> Iterator[Receiver]:
    running = Receiver(answers)
    try:
        yield running
    finally:
        running.close()
