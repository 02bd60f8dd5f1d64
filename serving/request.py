"""A request as its caller sent it, before anything in it is believed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from media.terms import Priority
from serving.errors import BadRequest

ARRIVED = "arrived"
"""Under which a ticket's options say when the encoder took the request up."""


class Caller(Enum):
    """Who waits for the answer, and so in which form it may go."""

    WORKFLOW = "workflow"
    """the workflow's next node, or its caller: one message, no status"""
    HTTP = "http"
    """a caller of the node by itself: any number of messages"""
    GRPC = "grpc"
    """a gRPC caller of the node by itself: one message"""


@dataclass(frozen=True)
class Request:
    """One request of a batch."""

    index: int
    """its place in the batch"""
    fields: Mapping[str, object]
    """form fields, or a single one that holds the whole body"""
    headers: Mapping[str, str]
    """by lower-case name"""
    caller: Caller = Caller.HTTP
    arrived: float = field(default_factory=time.time)
    """when the handler got it, in seconds since the epoch"""
    due: float = math.inf
    """when its caller gives up waiting, in seconds since the epoch; known once its options are read"""
    priority: Priority = "interactive"
    """known once its options are read"""
    id: str = ""
    """TorchServe's, of this node's part in the call"""

    @property
    def request(self) -> Request:
        """Itself: a request is the first job that it becomes."""
        return self


class Job(Protocol):
    """Anything that stands for one request of a batch."""

    @property
    def request(self) -> Request: ...


def as_bytes(name: str, value: object) -> bytes:
    """A field's value. Raises BadRequest, naming the field, where it is text or was parsed: numbers, lists, null."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise BadRequest(f"{name} came as {'text' if isinstance(value, str) else 'JSON'}: send the bytes of a file")


def as_text(name: str, value: object) -> str:
    """A field's value as text. Raises BadRequest, naming the field."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{name} is not text") from None
    raise BadRequest(f"{name} came as JSON: send it as plain text")
