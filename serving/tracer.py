"""The spans of the requests of a batch: each request has its own, although steps are computed for many together.

A request is traced if its caller sends a `traceparent` or asks for spans (`X-Eden-Spans`), or if the operator exports
them. For other requests nothing is recorded or timed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from serving.answer import Answer
from serving.request import Caller, Job, Request
from tracing import context, spans
from tracing.context import TraceContext
from tracing.spans import Clock, Span, Value

TICKET_KEY = "trace"
"""Key of the trace in a ticket's options."""
SPANS = ("spans", "x-eden-spans")
"""Form field and header by which a caller asks for the spans of its request."""
Export = Callable[[Sequence[Span]], None]
Tickets = Literal["gives", "takes"] | None


@dataclass
class _Open:
    """A step that has begun and not ended."""

    name: str
    id: str
    start: int
    attributes: dict[str, Value]
    error: str = ""

    def closed(self, trace: _Trace, end: int) -> Span:
        attributes = self.attributes | ({"error.type": self.error} if self.error else {})
        return Span(
            self.name, trace.own.trace_id, self.id, trace.own.span_id, self.start, max(end, self.start), attributes
        )


@dataclass
class _Trace:
    """The trace of one request. `own`: the context of the node's span, the parent of its steps."""

    own: TraceContext
    parent: str | None
    """span id of the node's span's parent; None if the trace begins here"""
    started: int
    exported: bool
    wanted: bool
    """whether the caller wants the spans with the answer"""
    others: list[Span] = field(default_factory=list)
    """spans of other nodes, which export them themselves"""
    beside: list[Span] = field(default_factory=list)
    """spans of this node that are not children of its own span"""
    steps: list[Span] = field(default_factory=list)
    open: list[_Open] = field(default_factory=list)
    attributes: dict[str, Value] = field(default_factory=dict)
    """attributes of the node's span"""
    dropped: int = 0
    sealed: bool = False

    @property
    def is_recorded(self) -> bool:
        return self.exported or self.wanted

    def add(self, span: Span) -> None:
        if len(self.steps) < spans.MOST:
            self.steps.append(span)
        else:
            self.dropped += 1

    def so_far(self, now: int) -> list[Span]:
        """Spans of all steps; those that have not ended are given the end `now`."""
        return self.steps + [each.closed(self, now) for each in self.open]


class Tracer:
    """The traces of the current batch of one worker.

    node     the node's name in spans: encoder, dit_decoder, eden_fused
    worker   the worker's slot in TorchServe
    tickets  "gives", "takes" or None; an answer that is a ticket has its spans inside, not attached
    export   called with the spans of each request once it is answered; None: they are not exported
    sample   share of the requests without a trace of their own that is exported: 0 to 1
    """

    def __init__(
        self,
        node: str = "",
        worker: str = "0",
        tickets: Tickets = None,
        export: Export | None = None,
        sample: float = 1.0,
    ) -> None:
        self._node, self._tickets, self._export, self._sample = node, tickets, export, sample
        self._place = place_of(node, worker)
        self._clock = Clock()
        self._batches = itertools.count(1)
        self._batch = ""
        self._traces: dict[int, _Trace] = {}

    def begin(self, requests: Sequence[Request]) -> None:
        """Begin a batch; the traces of the batch before are dropped."""
        self._traces.clear()
        first = True
        for request in requests:
            if request.caller is Caller.WORKFLOW and self._tickets == "takes":
                continue  # its ticket says
            sent = context.parse(request.fields.get(context.HEADER, request.headers.get(context.HEADER)))
            wanted = _truth(request.fields.get(SPANS[0], request.headers.get(SPANS[1], "")))
            if sent or wanted or self._begins():
                if first:
                    first = False
                    self._renew()
                self._start(request, sent, wanted)

    def trace_id(self, request: Request) -> str:
        """A request's trace id; empty if it is not traced."""
        trace = self._traces.get(request.index)
        return trace.own.trace_id if trace else ""

    def records(self, jobs: Sequence[Job]) -> bool:
        """Whether any of these jobs is traced."""
        return bool(self._recorded(jobs))

    @contextmanager
    def step(self, name: str, jobs: Sequence[Job]) -> Iterator[None]:
        """A context for one step that is computed for all these jobs."""
        traces = self._recorded(jobs)
        if not traces:
            yield
            return
        start = self._clock.now()
        shared: dict[str, Value] = {"eden.batch": self._batch, "eden.batch_size": len(jobs)}
        steps = [(trace, _Open(name, context.new_id(8), start, self._place | shared)) for trace in traces]
        for trace, step in steps:
            trace.open.append(step)
        error = ""
        try:
            yield
        except BaseException as failed:
            error = type(failed).__name__
            raise
        finally:
            now = self._clock.now()
            for trace, step in steps:
                step.error = error
                if step in trace.open:
                    trace.open.remove(step)
                trace.add(step.closed(trace, now))

    def within(self, name: str, jobs: Sequence[Job], start_ns: int, end_ns: int, **attributes: Value) -> None:
        """Record a part of the current step for all these jobs; times are those of time.monotonic_ns()."""
        for trace in self._recorded(jobs):
            if not trace.open:
                continue
            step = trace.open[-1]
            start = max(step.start, self._clock.at(start_ns))
            end = max(start, self._clock.at(end_ns))
            values = step.attributes | attributes
            trace.add(Span(name, trace.own.trace_id, context.new_id(8), step.id, start, end, values))

    def to_ticket(self, request: Request) -> dict[str, Any]:
        """The trace for a ticket's options, under TICKET_KEY; with the spans so far, if the caller wants them."""
        trace = self._traces.get(request.index)
        if not trace:
            return {}
        now = self._clock.now()
        parent = replace(trace.own, span_id=trace.parent or trace.own.span_id)
        values: dict[str, Any] = {"parent": str(parent), "at": now}
        if trace.wanted:
            values["spans"] = spans.to_wire([self._node_span(trace, now, {}), *trace.so_far(now)])
        return {TICKET_KEY: values}

    def follow(self, request: Request, options: Mapping[str, Any]) -> None:
        """Continue the trace in the options of a verified ticket.

        If this node was called by itself, with a trace in the request, that trace counts, and the request alone says
        whether spans are wanted with the answer.
        """
        values = options.get(TICKET_KEY)
        by_workflow = request.caller is Caller.WORKFLOW
        if values is None:
            if by_workflow and self._begins():
                self._renew()
                self._start(request, None, False)
            return
        parent = context.parse(values["parent"])
        trace = self._traces.get(request.index)
        if trace is None:
            if not self._traces:
                self._renew()
            trace = self._start(request, parent, by_workflow and "spans" in values)
        if trace.wanted and "spans" in values and parent and parent.trace_id == trace.own.trace_id:
            trace.others = spans.from_wire(parent.trace_id, values["spans"])
        if by_workflow and trace.is_recorded and trace.parent:
            waited = min(values["at"], trace.started), trace.started
            own = trace.own.trace_id
            trace.beside.append(Span("queue", own, context.new_id(8), trace.parent, *waited, dict(self._place)))

    def leave(self, request: Request, answer: Answer) -> Answer:
        """End a request's trace; returns its answer, with the spans attached if they are wanted."""
        trace = self._traces.get(request.index)
        if trace is None or trace.sealed:
            return answer
        trace.sealed = True
        if not trace.is_recorded:
            return answer
        now = self._clock.now()
        values: dict[str, Value] = {"http.response.status_code": answer.status, "eden.answer_bytes": len(answer.body)}
        if trace.dropped:
            values["eden.spans_dropped"] = trace.dropped
        if answer.status >= 400:
            values["error.type"] = answer.reason or "error"
        own = [self._node_span(trace, now, values), *trace.beside, *trace.so_far(now)]
        if trace.exported and self._export is not None:
            self._export(own)
        if not trace.wanted or self._tickets == "gives":
            return answer
        return replace(answer, body=spans.attach(answer.body, trace.others + own))

    def note(self, jobs: Iterable[Job], attributes_of: Callable[[Any], Mapping[str, Value]]) -> None:
        """Add attributes to the spans of these jobs; `attributes_of` is called only for jobs that are traced."""
        if self._traces:
            for job in jobs:
                if trace := self._traces.get(job.request.index):
                    trace.attributes |= attributes_of(job)

    def _recorded(self, jobs: Sequence[Job]) -> list[_Trace]:
        if not self._traces:
            return []
        found = {job.request.index: self._traces.get(job.request.index) for job in jobs}
        return [trace for trace in found.values() if trace and trace.is_recorded and not trace.sealed]

    def _begins(self) -> bool:
        """Whether a request without a trace of its own is exported, by the sample."""
        return self._export is not None and random.random() < self._sample

    def _renew(self) -> None:
        """Once per batch: read the time of day again, since the system's clock may be set while a worker lives."""
        self._clock = Clock()
        self._batch = f"{self._node}-{self._place['eden.worker']}-{next(self._batches)}"

    def _start(self, request: Request, parent: TraceContext | None, wanted: bool) -> _Trace:
        own = parent.child() if parent else TraceContext.begin()
        exported = self._export is not None and own.sampled
        started = self._clock.now()
        trace = _Trace(own, parent.span_id if parent else None, started, exported, wanted)
        trace.attributes = {"eden.request_id": request.id, "eden.topology": self._topology(request)}
        self._traces[request.index] = trace
        return trace

    def _topology(self, request: Request) -> str:
        if self._tickets is None:
            return "fused"
        return "split" if request.caller is Caller.WORKFLOW else "chain"

    def _node_span(self, trace: _Trace, end: int, attributes: Mapping[str, Value]) -> Span:
        own, values = trace.own, self._place | trace.attributes | dict(attributes)
        return Span(self._node, own.trace_id, own.span_id, trace.parent, trace.started, max(end, trace.started), values)


def place_of(node: str, worker: str) -> dict[str, Value]:
    """Attributes of all spans of a worker."""
    return {"eden.node": node, "eden.worker": worker, "eden.clock": spans.this_clock()}


def _truth(value: object) -> bool:
    """Whether an option may mean true; serving.options checks its value later."""
    text = bytes(value[:8]).decode("latin-1") if isinstance(value, bytes | bytearray) else value
    return isinstance(text, str) and text.strip().lower() in ("1", "true", "yes")
