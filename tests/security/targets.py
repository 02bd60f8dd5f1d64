"""What is attacked: one row per way into the server; a test takes the rows that read what it sends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import media
from eden_client.api.errors import EdenError
from eden_client.api.grpc_route import GrpcConnection
from eden_client.api.tokens import FixedToken
from eden_client.api.traffic import Traffic
from handoff.ticket import MAGIC, VERSION
from server import Server
from server.topology import FUSED, NODES
from tests.e2e.servers import PREDICT, WORKFLOW
from tests.security import wire
from tests.security.wire import FORM, Headers, Part

BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Call:
    """What is sent, whatever the protocol: a form's parts, or a whole body."""

    body: tuple[Part, ...] | bytes
    headers: Headers = ()
    content_type: str | None = None
    """None: as it should be; "": none at all"""
    method: str = "POST"

    def http(self, path: str, token: str) -> bytes:
        """The bytes of an HTTP request."""
        usual = BINARY if isinstance(self.body, bytes) else FORM
        kind = usual if self.content_type is None else self.content_type
        body = self.body if isinstance(self.body, bytes) else wire.form(self.body)
        headers: Headers = [("Authorization", f"Bearer {token}"), *([("Content-Type", kind)] if kind else [])]
        return wire.request(self.method, path, [*headers, *self.headers], body)

    def fields(self) -> dict[str, bytes] | None:
        """The fields of a gRPC call; None for what gRPC cannot say: headers, and a name that stands twice."""
        if self.headers or self.content_type is not None or self.method != "POST":
            return None
        if isinstance(self.body, bytes):
            return {"data": self.body}
        fields = {part.name: part.value for part in self.body}
        plain = all(part.disposition is None for part in self.body) and len(fields) == len(self.body)
        return fields if plain and all(name.isprintable() for name in fields) else None


@dataclass(frozen=True)
class Answer:
    """What came back, in whichever way."""

    code: int
    """of the envelope where there is one, else HTTP's; 0: the connection was closed without a word"""
    body: bytes
    envelope: dict[str, Any] | None = None
    status: int | None = None
    """HTTP's"""

    def __str__(self) -> str:
        return f"{self.code} {self.body[:300]!r}" + (f"... ({len(self.body)} bytes)" if len(self.body) > 300 else "")


SHARE = int(os.environ.get("EDEN_SECURITY_SHARE", "5"))
"""A part of the large tables is enough for each change; EDEN_SECURITY_SHARE=1 makes all 3,736 calls."""


@dataclass(frozen=True)
class Target:
    """A way in."""

    name: str
    at: str
    """an HTTP path, or a model's name"""
    reads: Literal["frames", "ticket"]
    protocol: Literal["HTTP", "gRPC", "gRPC stream"] = "HTTP"
    every: int = 1
    """of the large tables, which cases it gets: each, every second, ..."""

    def __str__(self) -> str:
        return self.name

    @property
    def step(self) -> int:
        """Of the large tables it gets the first case and then each so many further on."""
        return SHARE * self.every

    @property
    def shows_status(self) -> bool:
        """Whether HTTP's status is the answer's code: a workflow says 200 of whatever its nodes answer."""
        return self.protocol == "HTTP" and self.at != WORKFLOW

    def takes(self, call: Call) -> bool:
        """Whether this call can be made here."""
        return self.protocol == "HTTP" or call.fields() is not None


ENCODER, DECODER = PREDICT
TARGETS = (
    Target("workflow", WORKFLOW, "frames", every=4),
    Target("encoder", ENCODER, "frames"),
    Target("encoder by gRPC", NODES[0], "frames", "gRPC", every=11),
    Target("encoder by gRPC stream", NODES[0], "frames", "gRPC stream", every=13),
    Target("fused", f"/predictions/{FUSED}", "frames", every=5),
    Target("fused by gRPC", FUSED, "frames", "gRPC", every=11),
    Target("decoder", DECODER, "ticket"),
    Target("decoder by gRPC", NODES[1], "ticket", "gRPC", every=3),
    Target("decoder by gRPC stream", NODES[1], "ticket", "gRPC stream", every=5),
)
READ_FRAMES = tuple(target for target in TARGETS if target.reads == "frames")
READ_FRAMES_BY_HTTP = tuple(target for target in READ_FRAMES if target.protocol == "HTTP")
READ_TICKETS = tuple(target for target in TARGETS if target.reads == "ticket")
HTTP = tuple(target for target in TARGETS if target.protocol == "HTTP")
WORKFLOW_TARGET, ENCODER_TARGET, DECODER_TARGET, FUSED_TARGET = (
    next(target for target in HTTP if target.at == at) for at in (WORKFLOW, *PREDICT, f"/predictions/{FUSED}")
)


@dataclass(frozen=True)
class Client:
    """Calls of one server, from any number of threads."""

    server: Server
    grpc: GrpcConnection
    token: str = field(repr=False)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.ports.inference

    def call(self, target: Target, call: Call, within: float = 60) -> Answer:
        """Raises TimeoutError where no answer comes within so many seconds."""
        if target.protocol == "HTTP":
            return self.raw(call.http(target.at, self.token), call.method, within)
        fields = call.fields()
        assert fields is not None
        try:
            if target.protocol == "gRPC":
                return _answer(self.grpc.call(target.at, fields, within))
            return _answer(b"".join(self.grpc.streamed(target.at, fields, within)))
        except EdenError as error:
            return Answer(500, str(error).encode())  # our answers are messages: this is TorchServe's

    def raw(self, request: bytes, method: str = "POST", within: float = 60) -> Answer:
        """The answer to the bytes of an HTTP request."""
        reply = wire.send(self.address, request, within, method)
        return _answer(reply.body, reply.status)


@contextmanager
def client_of(server: Server) -> Iterator[Client]:
    """A client with a token of its own."""
    token = server.token()
    assert token
    with closing(GrpcConnection(f"127.0.0.1:{server.grpc_port}", FixedToken(token), Traffic())) as grpc:
        yield Client(server, grpc, token)


def _answer(body: bytes, status: int | None = None) -> Answer:
    code = 200 if status is None else status
    try:
        told = json.loads(body)
    except ValueError:
        return Answer(code, body, None, status)
    if isinstance(told, dict) and isinstance(told.get("code"), int):
        return Answer(told["code"], body, told, status)
    return Answer(code, body, None, status)


MAGICS = (
    MAGIC + VERSION,
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"RIFF",
    media.NPY_MAGIC,
    b"PK\x03\x04",
    b"--eden-frame\r\n",
    b'{"layout": "rgb24"',
)


def is_served(body: bytes) -> bool:
    """Whether these bytes begin as a ticket or as frames do."""
    return body.startswith(MAGICS) or body[4:8] == b"ftyp"
