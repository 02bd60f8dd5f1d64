"""A request as its caller sent it, before anything in it is checked."""

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
"""Key in a ticket's options: when the encoder took up the request, in seconds since the epoch."""


class Caller(Enum):
    """The kind of caller, on which the form of the answer depends."""

    WORKFLOW = "workflow"
    """the workflow: its next node, or its caller; one message, no status"""
    HTTP = "http"
    """an HTTP caller of this node alone; any number of messages"""
    GRPC = "grpc"
    """a gRPC caller of this node alone; one message"""


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
    """TorchServe's id of this call of this node"""

    @property
    def request(self) -> Request:
        """The request itself, so that a request is a Job too."""
        return self


class Job(Protocol):
    """Anything that stands for one request of a batch."""

    @property
    def request(self) -> Request: ...


def as_bytes(name: str, value: object) -> bytes:
    """A field's bytes. Raises BadRequest, naming the field, if it came as text or as parsed JSON."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise BadRequest(f"{name} came as {'text' if isinstance(value, str) else 'JSON'}: send the bytes of a file")


def as_text(name: str, value: object) -> str:
    """A field's value as text. Raises BadRequest, naming the field, if it is neither text nor UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{name} is not text") from None
    raise BadRequest(f"{name} came as JSON: send it as plain text")
