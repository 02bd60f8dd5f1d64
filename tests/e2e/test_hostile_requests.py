"""What a caller can do to harm a server beside his own request: each is refused, and both workers stay as they are."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import product

import pytest
import requests

import media
from server import Server
from server.api import BINARY
from server.topology import NODES
from tests.e2e.servers import PREDICT, WORKFLOW, moving_frames

CLIP = media.encode_npy(moving_frames())
ENCODER, DECODER = PREDICT
PICTURES = {f"frame{i}": (f"{i}.png", media.encode_image(f, "png")) for i, f in enumerate(moving_frames())}


@pytest.fixture(autouse=True)
def same_workers(server: Server):
    """Each request leaves both workers alive, and answering."""
    before = [server.worker_pids(node) for node in NODES]
    yield
    answer = server.api.call(WORKFLOW, data=CLIP, headers=BINARY)
    assert answer.content.startswith(media.NPY_MAGIC), answer.text
    assert [server.worker_pids(node) for node in NODES] == before


def refused(reply: requests.Response, code: int, *words: str) -> None:
    assert reply.status_code == code, reply.text
    told = reply.json()
    assert told["code"] == code
    assert all(word in told["message"] for word in words), told
    assert len(reply.content) < 1500


def test_a_number_with_a_huge_exponent_delays_nobody(server: Server):
    def innocent() -> float:
        started = time.monotonic()
        reply = server.api.call(WORKFLOW, data=CLIP, headers=BINARY)
        assert reply.content.startswith(media.NPY_MAGIC)
        return time.monotonic() - started

    with ThreadPoolExecutor(2) as pool:
        headers = BINARY | {"X-Eden-Fps": "1e300000000"}  # minutes to compute, and all threads wait meanwhile
        hostile = pool.submit(server.api.call, ENCODER, data=CLIP, headers=headers)
        assert pool.submit(innocent).result() < 30
        refused(hostile.result(), 400, "fps is '1e300000000'", "1/1000 to 1000")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("fps", "1e-5", "1/1000 to 1000"),
        ("fps", "1/2147483648", "1/1000 to 1000"),
        ("fps", "1000000007/1000000009", "up to 10000000"),
        ("seed", "9" * (1 << 20), "0 to 9223372036854775807"),
        ("quality", "9" * (1 << 20), "1 to 100"),
        ("format", "x" * (1 << 20), "not one of"),
        ("stream", "x" * (1 << 20), "not one of"),
        ("x" * 5000, "1", "unknown field"),
        ("frame" + "1" * 5000, "1", "unknown field"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_bounds_and_not_echoed(server: Server, name, value, word):
    reply = server.api.call(
        ENCODER, files=PICTURES | {name: (None, value)}, data={"format": "mp4"} if name == "fps" else {}
    )
    refused(reply, 400, name[:20], word)


def test_an_mp4_of_an_absurd_rate_is_told_to_name_another_and_then_served(server: Server):
    target = io.BytesIO()
    media.encode_video(list(moving_frames(3)), Fraction(2000), target)
    reply = server.api.call(ENCODER, data=target.getvalue(), headers={"Content-Type": "video/mp4"})
    refused(reply, 400, "the video states 2000 frames a second: name its fps, from 1/1000 to 1000")
    headers = {"Content-Type": "video/mp4", "X-Eden-Fps": "1/1000"}
    reply = server.api.call(WORKFLOW, data=target.getvalue(), headers=headers)
    with media.open_video(reply.content) as video:
        assert video.rate == Fraction(2, 1000)
        assert len(list(video.frames())) == 5


CODES = ["-1", "0", "99", "101", "204", "304", "600", "1000", '"abc"', "null", "[]", "1e400", "4294967296", "NaN"]
STRANGE = {f"a status of {code}": b'{"code": %s, "type": "x", "message": "y"}' % code.encode() for code in CODES} | {
    "100,000 nested objects": b'{"a":' * 100_000,
    "100,000 brackets": b"{" * 100_000,
    "a label of our metrics": b'{"code": 418, "type": "x\\n", "message": "y"}',
    "a refusal that nobody signed": b'EDEN-REFUSAL\x01{"code": 204, "type": "x", "message": "y"}',
}


@pytest.mark.parametrize("name", STRANGE)
def test_json_of_a_strangers_is_a_bad_ticket_and_no_more(server: Server, name: str):
    for kind in ("application/octet-stream", "application/json"):
        reply = server.api.call(DECODER, data=STRANGE[name], headers={"Content-Type": kind})
        refused(reply, 403, "no ticket" if STRANGE[name].startswith(b"{") else "not signed with this server's key")
        assert reply.json()["type"] == "TicketRejected"
    reply = server.api.call(DECODER, files={"ticket": ("ticket", STRANGE[name], "application/json")})
    refused(reply, 403)


def test_what_the_encoder_refuses_comes_through_the_decoder_as_it_was(server: Server):
    direct = server.api.call(ENCODER, data=b"no clip", headers=BINARY)
    refused(direct, 400, "not a readable video")
    through = server.api.call(WORKFLOW, data=b"no clip", headers=BINARY)
    assert (through.status_code, through.content) == (200, direct.content)


JSON = ["null", "1.5", "[300]", "{}", "[]", "true", '"7"', "-1", "100000000000000000000"]
GOOD = {("fps", "1.5"), ("stream", "true")}


@pytest.mark.parametrize(
    ("name", "value"),
    [pair for pair in product(["seed", "quality", "fps", "format", "stream"], JSON) if pair not in GOOD],
)
def test_an_option_that_calls_itself_json_is_read_as_the_text_it_is(server: Server, name: str, value: str):
    reply = server.api.call(ENCODER, files=PICTURES | {name: ("x", value, "application/json")})
    refused(reply, 400, f"{name} is ")


@pytest.mark.parametrize("value", [b"100000000", b"null", b"[300]", b"{}", b"[" * 1_000_000, b"[[],[]," * 1_000_000])
def test_a_picture_that_calls_itself_json_is_a_bad_picture(server: Server, value: bytes):
    reply = server.api.call(ENCODER, files=PICTURES | {"frame1": ("x", value, "application/json")})
    refused(reply, 400, "frame1: ")
    reply = server.api.call(ENCODER, files={"clip": ("x", value, "application/json")})
    refused(reply, 400)
    for node in PREDICT:
        refused(
            server.api.call(node, data=value, headers={"Content-Type": "application/json"}),
            400 if node == ENCODER else 403,
        )


def test_a_seed_that_calls_itself_json_is_the_seed(server: Server):
    plain, json = (
        server.api.call(WORKFLOW, files=PICTURES | {"seed": ("seed", b"100000000", kind)}).content
        for kind in ("text/plain", "application/json")
    )
    assert plain == json and plain.startswith(b"\x89PNG")
