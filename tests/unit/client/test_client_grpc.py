"""How gRPC calls are ended; what they bring is tried with a real TorchServe (tests/e2e/test_grpc.py)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from eden_client import EdenClient, EdenError
from eden_client.api import client as client_module
from eden_client.api.grpc_route import SERVICE, _Request, _Response
from eden_client.api.routes import TICKET
from media import encode_npy
from serving.answer import as_part, stream_end
from tests.unit.client.told import FRAMES

FRAME = as_part(encode_npy(np.zeros((1, *FRAMES[0].shape), np.uint8)), "application/x-npy") + stream_end()
REFUSAL = json.dumps({"code": 400, "type": "BadRequest", "message": "told so", "retry": "never"}).encode()
LINGERS_S = 0.5
"""Between a call's last message and its end; TorchServe needs less."""


class Decoder(grpc.GenericRpcHandler):
    """Gives tickets, after such refusals, and one message for each; notes whether its caller was there at the end."""

    def __init__(self, answer: bytes, refusals: list[bytes] | None = None) -> None:
        self.answer, self.left = answer, threading.Event()
        self.ended, self.refusals = threading.Event(), refusals or []

    def service(self, details):
        how = {"request_deserializer": _Request.FromString, "response_serializer": _Response.SerializeToString}
        if details.method == f"{SERVICE}/Predictions":
            return grpc.unary_unary_rpc_method_handler(self.encode, **how)
        return grpc.unary_stream_rpc_method_handler(self.stream, **how)

    def encode(self, request, context) -> object:
        return _Response(prediction=self.refusals.pop() if self.refusals else TICKET)

    def stream(self, request, context) -> Iterator[object]:
        over = threading.Event()

        def noticed() -> None:
            if not over.is_set():
                self.left.set()

        context.add_callback(noticed)
        yield _Response(prediction=self.answer)
        self.left.wait(LINGERS_S)
        over.set()
        self.ended.set()


@contextmanager
def served(decoder: Decoder) -> Iterator[str]:
    """The address at which it answers."""
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, handlers=[decoder])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@pytest.mark.parametrize("answer", [FRAME, as_part(REFUSAL, "application/json") + stream_end()], ids=["frame", "error"])
def test_a_stream_is_heard_to_its_end(answer):
    """TorchServe ends the worker of a caller who leaves while it ends the call."""
    decoder = Decoder(answer)
    with served(decoder) as address, EdenClient(address, route="grpc") as client:
        try:
            assert not client.interpolate_pair(*FRAMES[:2]).any()
        except EdenError as error:
            assert error.code == 400 and answer is not FRAME
        assert decoder.ended.wait(60)
    assert not decoder.left.is_set()


def test_a_refusal_says_when_to_come_back_and_that_is_heeded(monkeypatch):
    """It is in the message: gRPC has no Retry-After, and TorchServe no status for a handler to give."""
    busy = {"code": 503, "type": "OverCapacity", "message": "told so", "retry": "later", "retry_after": 3}
    monkeypatch.setattr(client_module, "uniform", lambda least, most: asked.append(least) or 0.0)
    asked, troubles = [], []
    with (
        served(Decoder(FRAME, [json.dumps(busy).encode()])) as address,
        EdenClient(address, route="grpc", on_trouble=troubles.append) as client,
    ):
        assert not client.interpolate_pair(*FRAMES[:2]).any()
    assert [(error.code, error.retry_after) for error in troubles] == [(503, 3.0)] and asked == [1]
