"""Records the client's spans, and those of servers, which come with their answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

from tracing.context import HEADER, TraceContext, new_id, parse
from tracing.spans import Clock, Span, Value, detach, this_clock

T = TypeVar("T")

MOST = 200_000
"""The most spans that are kept; those after them are only counted."""
NODE = "eden.node"
"""The attribute that says where a span was measured: `client`, or the server's node."""


class Trace:
    """One trace: the client's own spans, and those that servers sent. Thread-safe.

    traceparent  the span that is the parent of this trace's (W3C trace context); with None, or a malformed one, a new
                 trace begins
    """

    def __init__(self, traceparent: str | None = None) -> None:
        self._context = parse(traceparent)
        self.trace_id = self._context.trace_id if self._context else new_id(16)
        self.clock = Clock()
        self.dropped = 0
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Trace], tuple[str]]:
        """Unpickled, it is the same trace, without spans yet."""
        return Trace, (str(self._context or TraceContext(self.trace_id, new_id(8))),)

    def begin(self, name: str, within: TraceContext | None = None, **attributes: Value) -> Step:
        """Begin a step. `within`: its parent, in another process; None: the parent of the trace, if there is one."""
        parent = within or self._context
        return _Recorded(self, name, parent.span_id if parent else None, attributes)

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans that were measured elsewhere."""
        with self._lock:
            for span in spans:
                if len(self._spans) < MOST:
                    self._spans.append(span)
                else:
                    self.dropped += 1

    def taken(self) -> list[Span]:
        """Remove and return the spans so far."""
        with self._lock:
            spans, self._spans = self._spans, []
        return spans

    @property
    def spans(self) -> list[Span]:
        """All spans so far, in the order of their start."""
        with self._lock:
            return sorted(self._spans, key=lambda span: (span.start_ns, -span.end_ns))


class Step:
    """A step of the client's work; one of this class is not recorded. As a context manager, it ends with its block."""

    recorded = False

    def child(self, name: str, **attributes: Value) -> Step:
        """Begin a step that is part of this one."""
        return self

    def note(self, **attributes: Value) -> None:
        """Add attributes to its span."""

    def end(self, error: BaseException | None = None) -> None:
        """End the step, with an error if it failed. Only the first call counts."""

    @property
    def context(self) -> TraceContext | None:
        """The parent for spans of other processes that do part of this step; None: it is not recorded."""
        return None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a call: the parent for the server's spans, and that they are to be sent back."""
        return {}

    @property
    def fields(self) -> dict[str, bytes]:
        """The same as form fields."""
        return {}

    def heard(self, body: bytes) -> bytes:
        """Strip the server's spans from the end of an answer's body, and keep them."""
        return body

    def overhear(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on an answer's chunks as they come, and keep the server's spans at its end."""
        return chunks

    def sent(self) -> None:
        """The whole request has been sent."""

    def within(self, name: str, start_ns: int, end_ns: int, **attributes: Value) -> None:
        """Add a finished part of the step. `start_ns`, `end_ns`: of the trace's clock, in nanoseconds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.end(None if isinstance(error, GeneratorExit) else error)


UNTRACED = Step()


class _Recorded(Step):
    recorded = True

    def __init__(self, trace: Trace, name: str, parent: str | None, attributes: Mapping[str, Value]) -> None:
        self._trace, self._name, self._parent = trace, name, parent
        self._attributes: dict[str, Value] = {NODE: "client", "eden.clock": this_clock(), **attributes}
        self._context = TraceContext(trace.trace_id, new_id(8))
        self._start = trace.clock.now()
        self._sent: int | None = None
        self._over = False

    def child(self, name: str, **attributes: Value) -> Step:
        return _Recorded(self._trace, name, self._context.span_id, attributes)

    def note(self, **attributes: Value) -> None:
        self._attributes |= attributes

    def end(self, error: BaseException | None = None) -> None:
        if self._over:
            return
        self._over = True
        if error is not None:
            self._attributes |= {"error.type": type(error).__name__, "error.message": str(error)[:200]}
        self._add(
            self._name, self._context.span_id, self._parent, self._start, self._trace.clock.now(), self._attributes
        )

    def within(self, name: str, start_ns: int, end_ns: int, **attributes: Value) -> None:
        told = {NODE: "client", "eden.clock": this_clock(), **attributes}
        self._add(name, new_id(8), self._context.span_id, start_ns, max(start_ns, end_ns), told)

    @property
    def context(self) -> TraceContext | None:
        return self._context

    @property
    def headers(self) -> dict[str, str]:
        return {HEADER: str(self._context), "X-Eden-Spans": "1"}

    @property
    def fields(self) -> dict[str, bytes]:
        return {HEADER: str(self._context).encode(), "spans": b"1"}

    def heard(self, body: bytes) -> bytes:
        rest, spans = detach(body)
        self._keep(spans)
        return rest

    def overhear(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        tail = _Tail()
        try:
            for chunk in chunks:
                tail.add(chunk)
                yield chunk
        finally:
            self._keep(detach(tail.bytes())[1])

    def sent(self) -> None:
        self._sent = self._trace.clock.now()
        self.within("send", self._start, self._sent)

    def _keep(self, spans: Sequence[Span]) -> None:
        own = [span for span in spans if span.trace_id == self._trace.trace_id]
        self._trace.add(own)
        mine = [span.start_ns for span in own if span.parent_id == self._context.span_id]
        same = {span.attributes.get("eden.clock") for span in own} == {this_clock()}
        if self._sent is not None and mine and same and min(mine) > self._sent:
            # from the last byte sent to a node's first span: TorchServe does not tell handlers when a call arrived
            self.within("queue", self._sent, min(mine))

    def _add(
        self, name: str, span_id: str, parent: str | None, start: int, end: int, attributes: Mapping[str, Value]
    ) -> None:
        self._trace.add([Span(name, self._trace.trace_id, span_id, parent, start, max(start, end), dict(attributes))])


class _Tail:
    """Keeps the last bytes of a sequence of chunks: as many as spans can take."""

    MOST = 1 << 18

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size - len(self._chunks[0]) >= self.MOST:
            self._size -= len(self._chunks.pop(0))

    def bytes(self) -> bytes:
        return b"".join(self._chunks)


def observed(step: Step, name: str, items: Iterator[T]) -> Iterator[T]:
    """Pass on the items as they come. The whole time becomes a part of `step`, with the seconds spent waiting for items
    as `busy_s`."""
    if not step.recorded:
        yield from items
        return
    busy = 0.0
    with step.child(name) as part:
        while True:
            began = time.monotonic()
            item = next(items, None)
            busy += time.monotonic() - began
            part.note(busy_s=round(busy, 6))
            if item is None:
                return
            yield item


@contextmanager
def begun(trace: Trace | None, parent: Step | None, name: str, **attributes: Value) -> Iterator[Step]:
    """A step within `parent`, or else within `trace`; not recorded where both are None."""
    if parent is not None:
        step = parent.child(name, **attributes)
    else:
        step = trace.begin(name, None, **attributes) if trace else UNTRACED
    with step:
        yield step
