"""gRPC callers, of either kind of call, whatever they ask: they are answered, and no worker ends or falls silent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import media
from eden_client.api.errors import envelope_in
from eden_client.api.grpc_route import GrpcConnection
from eden_client.api.parts import read_parts
from eden_client.api.tokens import FixedToken
from eden_client.api.traffic import Traffic
from eden_client.cli.main import main
from server import Server
from server.topology import NODES
from tests.e2e.client_films import CLIP as FILM
from tests.e2e.client_films import grpc_options, look_at, write_film
from tests.e2e.servers import moving_frames

ENCODER, DECODER = NODES
CLIP = media.encode_npy(moving_frames(4))


@pytest.fixture(scope="module")
def calls(server: Server) -> Iterator[GrpcConnection]:
    with closing(GrpcConnection(f"127.0.0.1:{server.grpc_port}", FixedToken(server.token()), Traffic())) as opened:
        yield opened


def unary(calls: GrpcConnection, node: str, fields: dict[str, bytes]) -> list[bytes]:
    return [calls.call(node, fields, 60)]


def streaming(calls: GrpcConnection, node: str, fields: dict[str, bytes]) -> list[bytes]:
    return list(calls.streamed(node, fields, 60))


KINDS = pytest.mark.parametrize("call", [unary, streaming])
Call = Callable[[GrpcConnection, str, dict[str, bytes]], list[bytes]]


def pids(server: Server) -> list[list[int]]:
    return [server.worker_pids(node) for node in NODES]


def drawn(answer: bytes) -> np.ndarray:
    return np.load(io.BytesIO(answer))


def drawn_parts(answer: bytes) -> np.ndarray:
    return np.concatenate([drawn(part.body) for part in read_parts([answer])])


@KINDS
def test_where_the_registration_stands_in_one_message(server: Server, calls: GrpcConnection, call: Call):
    before = server.worker_pids("autostart")
    for _ in range(2):
        (answer,) = call(calls, "autostart", {"data": b"?"})
        assert json.loads(answer)["state"] == "registered"
    assert server.worker_pids("autostart") == before


@KINDS
def test_a_clip_in_two_calls(server: Server, calls: GrpcConnection, call: Call):
    before = pids(server)
    for _ in range(2):  # the second finds both workers as the first left them
        (ticket,) = call(calls, ENCODER, {"data": CLIP, "seed": b"5"})
        (answer,) = call(calls, DECODER, {"data": ticket})
        assert drawn(answer).shape == (3, 64, 96, 3)
    assert pids(server) == before


@KINDS
def test_a_stream_that_is_asked_for_comes_in_one_message(server: Server, calls: GrpcConnection, call: Call):
    before = pids(server)
    whole = drawn(calls.call(DECODER, {"data": calls.call(ENCODER, {"data": CLIP}, 60)}, 60))
    for _ in range(2):
        ticket = calls.call(ENCODER, {"data": CLIP}, 60)
        (answer,) = call(calls, DECODER, {"data": ticket, "stream": b"1", "format": b"npy"})
        assert np.abs(drawn_parts(answer).astype(int) - whole).max() <= 1
    assert pids(server) == before


ERRORS = {
    "encoder, nothing": (ENCODER, {}, 400),
    "encoder, no picture": (ENCODER, {"frame0": b"hello", "frame1": b"hello"}, 400),
    "encoder, an empty body": (ENCODER, {"data": b""}, 400),
    "encoder, an unknown field": (ENCODER, {"data": CLIP, "sede": b"1"}, 400),
    "encoder, an unknown format": (ENCODER, {"data": CLIP, "format": b"tiff"}, 400),
    "decoder, nothing": (DECODER, {}, 400),
    "decoder, no ticket": (DECODER, {"data": b"EDEN-TICKET forged"}, 403),
    "decoder, no ticket, a stream": (DECODER, {"data": b"anything", "stream": b"1"}, 403),
}


@KINDS
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_an_answer(server: Server, calls: GrpcConnection, call: Call, name: str):
    node, fields, code = ERRORS[name]
    before = pids(server)
    for _ in range(2):
        (answer,) = call(calls, node, fields)
        assert json.loads(answer)["code"] == code
    assert pids(server) == before


@KINDS
def test_a_stream_that_cannot_be_is_an_error_and_the_ticket_is_good_still(
    server: Server, calls: GrpcConnection, call: Call
):
    before = pids(server)
    ticket = calls.call(ENCODER, {"data": CLIP}, 60)
    (answer,) = call(calls, DECODER, {"data": ticket, "stream": b"1", "format": b"mp4"})
    assert "mp4 cannot be streamed" in str(envelope_in(answer))
    (answer,) = call(calls, DECODER, {"data": ticket})
    assert drawn(answer).shape == (3, 64, 96, 3)
    assert pids(server) == before


@pytest.mark.parametrize("strategy", ["streaming", "batch"])
def test_a_film_over_grpc(server: Server, tmp_path: Path, strategy: str):
    before = pids(server)
    source = write_film(tmp_path / "film.mkv", FILM[:8], codec="ffv1", pixel_format="bgr0")
    assert main([str(source), str(tmp_path / "smooth.mkv"), *grpc_options(server), "--strategy", strategy]) == 0
    assert len(look_at(tmp_path / "smooth.mkv").frames) == 15
    assert pids(server) == before
