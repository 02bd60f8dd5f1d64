"""The client's spans, and the servers' that come with its answers."""

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
"""Spans that are kept; what comes after them is counted."""
NODE = "eden.node"
"""Attribute that says who measured a span: `client`, or the server's node."""


class Trace:
    """What is known of one trace: the client's own spans, and those that servers sent. Thread-safe.

    traceparent  of a span that is to be the parent of all this (W3C trace context); a malformed one is ignored, and a
                 new trace begins, as with None
    """

    def __init__(self, traceparent: str | None = None) -> None:
        self._context = parse(traceparent)
        self.trace_id = self._context.trace_id if self._context else new_id(16)
        self.clock = Clock()
        self.dropped = 0
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Trace], tuple[str]]:
        """In another process it is the same trace, of which nothing is kept yet."""
        return Trace, (str(self._context or TraceContext(self.trace_id, new_id(8))),)

    def begin(self, name: str, within: TraceContext | None = None, **attributes: Value) -> Step:
        """A step within that of another process, or else within the caller's own."""
        parent = within or self._context
        return _Recorded(self, name, parent.span_id if parent else None, attributes)

    def add(self, spans: Iterable[Span]) -> None:
        """Keep spans that somebody else has measured."""
        with self._lock:
            for span in spans:
                if len(self._spans) < MOST:
                    self._spans.append(span)
                else:
                    self.dropped += 1

    def taken(self) -> list[Span]:
        """The spans so far, which are forgotten here."""
        with self._lock:
            spans, self._spans = self._spans, []
        return spans

    @property
    def spans(self) -> list[Span]:
        """All spans so far, in the order of their beginnings."""
        with self._lock:
            return sorted(self._spans, key=lambda span: (span.start_ns, -span.end_ns))


class Step:
    """Something that the client does; this one is not recorded. As a context manager it ends with its block."""

    recorded = False

    def child(self, name: str, **attributes: Value) -> Step:
        """A step that is part of this one."""
        return self

    def note(self, **attributes: Value) -> None:
        """Add to what is known of it."""

    def end(self, error: BaseException | None = None) -> None:
        """It is over; what comes later does not count."""

    @property
    def context(self) -> TraceContext | None:
        """For who does part of this step in another process."""
        return None

    @property
    def headers(self) -> dict[str, str]:
        """Of a call that is this step: under which a server's spans are told, and that they are wanted."""
        return {}

    @property
    def fields(self) -> dict[str, bytes]:
        """The same as fields of a form."""
        return {}

    def heard(self, body: bytes) -> bytes:
        """An answer's body without the spans behind it, which are kept."""
        return body

    def overhear(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """An answer in chunks as they come, of which the spans at its end are kept."""
        return chunks

    def sent(self) -> None:
        """The request has gone out in full."""

    def within(self, name: str, start_ns: int, end_ns: int, **attributes: Value) -> None:
        """A part of it that is over."""

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
            # from the last byte sent to the first thing that a node did: TorchServe tells no handler when a call came
            self.within("queue", self._sent, min(mine))

    def _add(
        self, name: str, span_id: str, parent: str | None, start: int, end: int, attributes: Mapping[str, Value]
    ) -> None:
        self._trace.add([Span(name, self._trace.trace_id, span_id, parent, start, max(start, end), dict(attributes))])


class _Tail:
    """The last bytes of something that comes in chunks: as many as spans can take."""

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
    """The items as they come; waiting for all of them is a part of `step`, in which `busy_s` seconds were spent."""
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
    """A step within `parent`, or else the trace's own; not recorded where there is neither."""
    if parent is not None:
        step = parent.child(name, **attributes)
    else:
        step = trace.begin(name, None, **attributes) if trace else UNTRACED
    with step:
        yield step
