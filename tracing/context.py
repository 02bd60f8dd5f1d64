"""W3C trace context (https://www.w3.org/TR/trace-context/): which trace, and which span of it, a call belongs to."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

HEADER = "traceparent"
"""Name of the header, and of the field by gRPC."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
LONGEST = 256
"""Characters that are looked at: later versions of the form may have more than the 55 of this one."""


@dataclass(frozen=True)
class TraceContext:
    """One span of one trace, as the next one's parent."""

    trace_id: str
    """32 lower-case hexadecimal digits"""
    span_id: str
    """16 of them"""
    sampled: bool = True
    """whether the caller records the trace, and so may want the rest of it recorded"""

    @classmethod
    def begin(cls, sampled: bool = True) -> TraceContext:
        """The first span of a new trace."""
        return cls(new_id(16), new_id(8), sampled)

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, new_id(8), self.sampled)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def new_id(nbytes: int) -> str:
    """Random, never all zeros, as hexadecimal digits."""
    while not (made := secrets.token_bytes(nbytes)).strip(b"\0"):
        pass
    return made.hex()


def parse(value: object) -> TraceContext | None:
    """The context that a `traceparent` says; None for anything malformed: a new trace begins then, says the W3C.

    Bytes and text are taken. A later version than 00 may say more behind a dash, and is read as far as 00 goes.
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
