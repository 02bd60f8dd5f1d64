"""Spans, and the format in which a server sends them to the caller that asked for them, after the answer's body:

    the answer's body, as without spans  JSON  4 bytes: the length of the JSON  EDENSPAN

They follow the body, since most of an answer may be sent before its last span ends; and they are no headers, since
headers do not get through a workflow, and gRPC has none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tracing.context import parse

Value = str | int | float | bool
MAGIC = b"EDENSPAN"
_LENGTH = 4
LARGEST = 1 << 17
"""The most bytes of spans per answer."""
MOST = 192
"""The most spans that a node records per request; those after them are only counted."""


@dataclass(frozen=True)
class Span:
    """A step of work. Its times are nanoseconds since the epoch, by the clock of the host that measured them."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    """with `error.type` if it failed"""

    @property
    def failed(self) -> bool:
        return "error.type" in self.attributes


class Clock:
    """Nanoseconds since the epoch that never go backwards: the time of day, read once, plus the time since then."""

    def __init__(self) -> None:
        self._anchor = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        return self._anchor + time.monotonic_ns()

    def at(self, monotonic_ns: int) -> int:
        """The same for a reading of time.monotonic_ns, which may be from the past."""
        return self._anchor + monotonic_ns


@cache
def this_clock() -> str:
    """An id of this host's clock, 16 hexadecimal digits: equal in all processes of a host, until it is restarted."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = str(time.time_ns() - time.monotonic_ns()).encode()  # an id that no other process has
    return hashlib.sha256(b"eden clock " + boot).hexdigest()[:16]


def to_wire(spans: Iterable[Span]) -> list[list[object]]:
    """Spans of one trace as compact JSON values."""
    return [
        [span.name, span.span_id, span.parent_id, span.start_ns, span.end_ns, dict(span.attributes)] for span in spans
    ]


def from_wire(trace_id: str, value: object) -> list[Span]:
    """The spans that `to_wire` converted. Raises ValueError: it is anything else."""
    if not isinstance(value, list):
        raise ValueError("no list of spans")
    return [_span(trace_id, each) for each in value[: 4 * MOST]]


def _span(trace_id: str, value: object) -> Span:
    match value:
        case [str(name), str(span_id), str() | None as parent_id, int(start), int(end), dict(attributes)]:
            ids = [span_id] if parent_id is None else [span_id, parent_id]
            values = all(isinstance(key, str) and isinstance(value, Value) for key, value in attributes.items())
            if values and all(parse(f"00-{trace_id}-{each}-00") for each in ids) and 0 <= start <= end < 1 << 63:
                return Span(name, trace_id, span_id, parent_id, start, end, attributes)
    raise ValueError("no span")


def attach(body: bytes, spans: Sequence[Span]) -> bytes:
    """A body followed by spans of one trace; only by the first of them, where all exceed LARGEST bytes."""
    room = list(spans)
    while True:
        value = json.dumps([room[0].trace_id, to_wire(room)] if room else [], separators=(",", ":")).encode()
        if len(value) <= LARGEST:
            return b"".join((body, value, len(value).to_bytes(_LENGTH, "big"), MAGIC))
        room = room[: len(room) // 2]


def detach(body: bytes) -> tuple[bytes, list[Span]]:
    """The body without the spans that `attach` added, and these spans; the body unchanged and none, if it has none."""
    end = len(body) - len(MAGIC) - _LENGTH
    if end < 0 or not body.endswith(MAGIC):
        return body, []
    start = end - int.from_bytes(body[end : end + _LENGTH], "big")
    if start < 0 or end - start > LARGEST:
        return body, []
    try:
        value = json.loads(body[start:end])
        return body[:start], from_wire(*value) if value else []
    except (ValueError, TypeError):
        return body, []
