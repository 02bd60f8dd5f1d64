"""W3C trace context (https://www.w3.org/TR/trace-context/): the trace, and the span of it, that a call belongs to."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

HEADER = "traceparent"
"""The name of the HTTP header, and of the form field for gRPC."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
LONGEST = 256
"""The most characters that are accepted: later versions of the header may have more than the 55 of this one."""


@dataclass(frozen=True)
class TraceContext:
    """A span of a trace, as the parent of further spans."""

    trace_id: str
    """32 lower-case hexadecimal digits"""
    span_id: str
    """16 lower-case hexadecimal digits"""
    sampled: bool = True
    """whether the caller records the trace, and so wants its other spans recorded too"""

    @classmethod
    def begin(cls, sampled: bool = True) -> TraceContext:
        """A new trace, with its first span."""
        return cls(new_id(16), new_id(8), sampled)

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, new_id(8), self.sampled)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def new_id(nbytes: int) -> str:
    """`nbytes` random bytes, not all zero, as hexadecimal digits."""
    while not (made := secrets.token_bytes(nbytes)).strip(b"\0"):
        pass
    return made.hex()


def parse(value: object) -> TraceContext | None:
    """The context in a `traceparent`, as text or bytes; None: it is malformed, and a new trace begins, by the standard.

    A version later than 00 may have more fields, after a dash: these are ignored.
    """
    if isinstance(value, bytes | bytearray):
        value = bytes(value[: LONGEST + 1]).decode("latin-1")
    if not isinstance(value, str) or len(value) > LONGEST or not (found := _FORM.fullmatch(value.strip(" \t"))):
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))
