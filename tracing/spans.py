"""Spans, and how a server's travel to the caller who asked for them: behind the answer that they tell of.

    the answer's body, as without them  JSON  4 bytes length of the JSON  EDENSPAN

Behind it, since most of an answer may have gone before its last span is over; in the body, since headers do not get
through a workflow, and gRPC has none.
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
"""Bytes of spans that go with one answer."""
MOST = 192
"""Spans that one node records of one request; what comes after them is counted."""


@dataclass(frozen=True)
class Span:
    """Something that took time. Times are nanoseconds since the epoch, by the clock of the host that measured them."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    """`error.type` where it failed"""

    @property
    def failed(self) -> bool:
        return "error.type" in self.attributes


class Clock:
    """Nanoseconds since the epoch that never go backwards: the time of day, read once, and what has passed since."""

    def __init__(self) -> None:
        self._anchor = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        return self._anchor + time.monotonic_ns()

    def at(self, monotonic_ns: int) -> int:
        """Of a reading of time.monotonic_ns."""
        return self._anchor + monotonic_ns


@cache
def this_clock() -> str:
    """Which clock this process goes by, as 16 hexadecimal digits: the same for all processes of a running host."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = str(time.time_ns() - time.monotonic_ns()).encode()  # nobody else's
    return hashlib.sha256(b"eden clock " + boot).hexdigest()[:16]


def to_wire(spans: Iterable[Span]) -> list[list[object]]:
    """Spans of one trace as small JSON values."""
    return [
        [span.name, span.span_id, span.parent_id, span.start_ns, span.end_ns, dict(span.attributes)] for span in spans
    ]


def from_wire(trace_id: str, value: object) -> list[Span]:
    """The spans that `to_wire` made JSON of. Raises ValueError for anything else."""
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
    """A body with spans of one trace behind it; the first ones, where all would be too many."""
    room = list(spans)
    while True:
        value = json.dumps([room[0].trace_id, to_wire(room)] if room else [], separators=(",", ":")).encode()
        if len(value) <= LARGEST:
            return b"".join((body, value, len(value).to_bytes(_LENGTH, "big"), MAGIC))
        room = room[: len(room) // 2]


def detach(body: bytes) -> tuple[bytes, list[Span]]:
    """The body without what `attach` put behind it, and the spans; as it is, and none, where there is nothing of it."""
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
