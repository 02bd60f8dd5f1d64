"""What the client makes of a server's troubles, told by a small HTTP server that fails to order.

The real server is in tests/e2e; here each trouble can be had exactly when it is wanted.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eden_client import (
    EdenClient,
    PayloadLost,
    Refused,
    ServerBusy,
    ServerFailed,
    ServerLost,
    TokenRejected,
)
from eden_client.api import adaptive_timeout, tokens
from eden_client.api import client as client_module
from eden_client.api.errors import envelope_in, error_told
from eden_client.api.tokens import KeyFile
from media import encode_npy
from tests.key_files import write_key_file
from tests.unit.client.told import FRAMES, Told, between, envelope, mean


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client_module, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def client(told):
    with EdenClient(told.url, patience=60, timeout=60) as client:
        yield client


def test_a_pair_a_clip_and_a_stream(client):
    assert np.array_equal(client.interpolate_pair(FRAMES[0], Image.fromarray(FRAMES[1])), mean(*FRAMES[:2]))
    clip = client.interpolate_clip(FRAMES)
    assert clip.shape == (3, 16, 24, 3)
    assert np.array_equal(np.stack(list(client.stream(iter(FRAMES)))), clip)
    assert list(client.stream(iter(FRAMES[:1]))) == []


def test_a_stream_reads_no_further_than_its_window(told):
    read = []

    def endless():
        while True:
            read.append(1)
            yield FRAMES[0]

    with EdenClient(told.url, window=3) as client:
        stream = client.stream(endless())
        for count in range(1, 6):
            next(stream)
            assert len(read) <= count + 3 + 1
        stream.close()


@pytest.mark.parametrize(
    ("frames", "wrong"),
    [
        (FRAMES[:1], "1 frame: at least two"),
        ([FRAMES[0], FRAMES[1][:8]], "one size"),
        ([FRAMES[0].astype(float)] * 2, "uint8"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(told, client, frames, wrong):
    with pytest.raises(Refused, match=wrong):
        client.interpolate_clip(frames)
    assert not told.paths


@pytest.mark.parametrize("status", [200, 503])  # in a workflow the status is always 200
@pytest.mark.parametrize(
    ("code", "kind", "error"),
    [
        (400, "BadRequest", Refused),
        (413, "BadRequest", Refused),
        (503, "OverCapacity", ServerBusy),
        (410, "PayloadGone", PayloadLost),
        (403, "TicketRejected", PayloadLost),
        (504, "HandoffTimeout", PayloadLost),
        (404, "WorkflowNotFoundException", ServerLost),
        (500, "InternalServerException", ServerFailed),
    ],
)
def test_an_envelope_is_its_error(told, client, status, code, kind, error):
    client._patience = 0.0
    told.answers = [(code if status != 200 else 200, envelope(code, kind))] * client_module.FAILURES
    with pytest.raises(error, match="told so") as raised:
        client.interpolate_pair(*FRAMES[:2])
    assert (raised.value.code, raised.value.kind) == (code, kind)
    assert str(raised.value) == f"told so ({code} {kind})"


def test_an_envelope_is_told_from_everything_else():
    assert envelope_in(b'{"a": 1}') is None
    assert envelope_in(b"{nonsense") is None
    assert envelope_in(encode_npy(np.zeros((1, 2, 2, 3), np.uint8))) is None
    assert isinstance(envelope_in(b' {"code": "400", "type": "T", "message": "m"}'), Refused)
    assert isinstance(error_told(507, "", "x"), ServerFailed)


@pytest.mark.parametrize(
    "trouble",
    [
        None,
        (503, envelope(503, "OverCapacity")),
        (500, envelope(500, "X")),
        (404, envelope(404, "ModelNotFoundException")),
    ],
)
def test_trouble_is_ridden_out(told, client, trouble):
    client.interpolate_pair(*FRAMES[:2])
    troubles = []
    client.on_trouble = troubles.append
    told.answers = [trouble, trouble, trouble] if trouble else [lambda body: None] * 3
    assert np.array_equal(client.interpolate_pair(*FRAMES[1:3]), mean(*FRAMES[1:3]))
    assert len(troubles) == 3 and client.traffic.retries == 3


def test_patience_ends(told, client):
    client.interpolate_pair(*FRAMES[:2])
    client._patience = 0.3
    told.answers = [(503, envelope(503, "OverCapacity"))] * 10_000
    started = time.monotonic()
    with pytest.raises(ServerBusy):
        client.interpolate_pair(*FRAMES[:2])
    assert 0.3 <= time.monotonic() - started < 60


def test_what_the_server_fails_over_is_tried_only_so_often(told, client):
    told.answers = [(500, envelope(500, "InternalError"))] * 100
    with pytest.raises(ServerFailed):
        client.interpolate_pair(*FRAMES[:2])
    assert len(told.paths) == client_module.FAILURES


def test_a_server_that_was_never_there_is_not_waited_for():
    started = time.monotonic()
    with EdenClient("http://127.0.0.1:9", patience=60) as client, pytest.raises(ServerLost, match=r"127\.0\.0\.1:9"):
        client.interpolate_pair(*FRAMES[:2])
    assert time.monotonic() - started < 30  # not the patience of a minute


def test_one_that_may_still_start_is_waited_for(told):
    with EdenClient("http://127.0.0.1:9", patience=0.1, wait_for_server=True) as client:
        troubles = []
        client.on_trouble = troubles.append
        with pytest.raises(ServerLost):
            client.interpolate_pair(*FRAMES[:2])
        assert troubles
    told.answers = [lambda body: None] * 3
    with EdenClient(told.url, route="workflow", wait_for_server=True) as client:
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), mean(*FRAMES[:2]))
        assert client.traffic.retries == 3


@pytest.mark.parametrize("answer", [b"nonsense", encode_npy(np.zeros((2, 16, 24, 3), np.uint8)), b"PK\3\4broken"])
def test_an_answer_that_makes_no_sense_is_a_failure(told, client, answer):
    client.interpolate_pair(*FRAMES[:2])
    told.answers = [answer] * client_module.FAILURES
    with pytest.raises(ServerFailed, match="answer"):
        client.interpolate_pair(*FRAMES[:2])


@pytest.mark.parametrize("answer", [(404, b"<html>"), (200, b"<html>")])
@pytest.mark.parametrize("route", ["workflow", "chain"])
def test_a_server_of_something_else_is_told_at_once_and_one_that_was_ours_is_waited_for(told, route, answer):
    with EdenClient(told.url, route=route) as client:
        told.answers = [answer]
        with pytest.raises(ServerFailed, match="is this an EDEN server"):
            client.interpolate_pair(*FRAMES[:2])
        assert len(told.paths) == 1
    with EdenClient(told.url) as client:
        client.interpolate_pair(*FRAMES[:2])
        told.answers = [answer] * 3  # a proxy, while the server behind it starts again
        client.interpolate_pair(*FRAMES[:2])
        assert client.traffic.retries == 3


def test_an_address_is_http_where_it_does_not_say(told):
    with EdenClient(told.url.removeprefix("http://")) as client:
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), mean(*FRAMES[:2]))


# ---------------------------------------------------------------- lost calls


def never(told: Told) -> Callable[[bytes], None]:
    """An answer that does not come before the same call has come again."""

    def answer(body: bytes) -> None:
        while told.bodies.count(body) < 2 and not told.closed:
            time.sleep(0.01)

    return answer


def test_a_call_that_is_never_answered_is_sent_again_soon_where_answers_are_quick(told, monkeypatch):
    monkeypatch.setattr(adaptive_timeout, "LEAST", 0.2)
    told.answers = [between, never(told)]
    with EdenClient(told.url, timeout=300) as client:
        client.interpolate_pair(*FRAMES[:2])
        started = time.monotonic()
        assert np.array_equal(client.interpolate_pair(*FRAMES[1:3]), mean(*FRAMES[1:3]))
        assert 0.2 <= time.monotonic() - started < 150 and client.traffic.retries == 1


def test_a_server_that_becomes_slow_gets_its_time(told, monkeypatch):
    monkeypatch.setattr(adaptive_timeout, "LEAST", 0.2)
    slow = lambda body: (time.sleep(0.6), between(body))[1]  # noqa: E731
    told.answers = [between, never(told), slow]
    with EdenClient(told.url, timeout=300) as client:
        client.interpolate_pair(*FRAMES[:2])
        assert np.array_equal(client.interpolate_pair(*FRAMES[1:3]), mean(*FRAMES[1:3]))
        assert client.traffic.retries == 1


def test_the_first_attempt_gets_what_the_slowest_answer_and_those_beside_it_may_take():
    of = adaptive_timeout.AdaptiveTimeout(300, window=8)
    assert of.limit(1000) == 300  # nothing is known yet
    of.answered(1000, 1)
    assert of.limit(1000) == adaptive_timeout.LEAST and of.limit(4000) == 64
    of.answered(1000, 4)
    of.answered(1000, 2)
    assert of.limit(1000) == 64 and of.limit(10_000) == 300
    assert adaptive_timeout.AdaptiveTimeout(10, window=8).limit(1000) == 10


@pytest.mark.parametrize("route", ["workflow", "fused"])
def test_the_second_server_needs_a_chain(route):
    with pytest.raises(ValueError, match="chain"):
        EdenClient("http://127.0.0.1:1", route=route, decoder_server="http://127.0.0.1:2")


# ---------------------------------------------------------------- tokens


class Keys:
    """A key_file.json, and the management interface that renews it, as TorchServe does."""

    def __init__(self, told, path):
        self.told, self.path, self.renewed = told, path, 0
        self.write("first", 3600)

    def write(self, key, seconds):
        write_key_file(self.path, key, seconds)

    def renew(self, body):
        time.sleep(0.05)
        self.renewed += 1
        self.write(f"renewed {self.renewed}", 3600)
        return b"\n"


@pytest.fixture
def keys(told, tmp_path):
    return Keys(told, tmp_path / "key_file.json")


def test_the_token_is_sent_and_read_anew_for_each_call(told, keys):
    with EdenClient(told.url, key_file=keys.path, management=told.url) as client:
        client.interpolate_pair(*FRAMES[:2])
        keys.write("second", 3600)
        client.interpolate_pair(*FRAMES[:2])
    assert told.tokens == ["Bearer first", "Bearer second"]


def test_an_expired_token_is_renewed_once_for_all_who_wait(told, keys):
    keys.write("old", 10)
    told.answers = [keys.renew]
    sources = [KeyFile(keys.path, told.url) for _ in range(6)]  # as many processes would have
    got = []
    threads = [threading.Thread(target=lambda source=source: got.append(source.current())) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["renewed 1"] * 6 and keys.renewed == 1
    assert told.paths == ["/token?type=inference"] and told.tokens == ["Bearer api"]


def test_a_token_voided_by_another_client_is_read_again(told, keys):
    rejected = (400, envelope(400, "InvalidKeyException"))

    def refuse_and_let_another_renew(body):
        keys.write("another's", 3600)
        return rejected

    told.answers = [refuse_and_let_another_renew]
    with EdenClient(told.url, key_file=keys.path, management=told.url) as client:
        client.interpolate_pair(*FRAMES[:2])
    assert told.tokens == ["Bearer first", "Bearer another's"] and keys.renewed == 0


def test_a_token_that_is_refused_is_renewed_and_then_given_up(told, keys):
    rejected = (400, envelope(400, "InvalidKeyException"))
    told.answers = [rejected, keys.renew, rejected, keys.renew]
    with EdenClient(told.url, key_file=keys.path, management=told.url) as client, pytest.raises(TokenRejected):
        client.interpolate_pair(*FRAMES[:2])


def test_a_fixed_token_cannot_be_renewed(told):
    told.answers = [(400, envelope(400, "InvalidKeyException"))]
    with EdenClient(told.url, token="mine") as client, pytest.raises(TokenRejected, match="key_file"):
        client.interpolate_pair(*FRAMES[:2])
    assert told.tokens == ["Bearer mine"]


@pytest.mark.parametrize("written", [b"", b'{"inference": {"ke'])
def test_a_key_file_is_read_again_while_it_is_written(keys, monkeypatch, written):
    whole = keys.path.read_bytes()
    keys.path.write_bytes(written)
    monkeypatch.setattr(tokens, "time", SimpleNamespace(sleep=lambda _: keys.path.write_bytes(whole)))
    assert KeyFile(keys.path, None).current() == json.loads(whole)["inference"]["key"]


@pytest.mark.parametrize(("content", "waits"), [(b"{", 4), (b"", 4), (b"[]", 0), (b"\x89PNG", 0), (b"a token", 0)])
def test_what_is_no_key_file_is_waited_for_only_if_it_may_become_one(tmp_path, monkeypatch, content, waits):
    slept = []
    monkeypatch.setattr(tokens, "time", SimpleNamespace(sleep=slept.append))
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(TokenRejected, match="is not a TorchServe key file"):
        KeyFile(tmp_path / "bad.json", None).current()
    assert len(slept) == waits


def test_a_key_file_that_cannot_be_used_says_so(told, tmp_path):
    def use(name):
        with EdenClient(told.url, key_file=tmp_path / name, management=told.url) as client:
            client.interpolate_pair(*FRAMES[:2])

    with pytest.raises(ServerLost, match="is the server running"):
        use("none.json")
    for content in (b"{", b"[]", b'{"inference": {"key": "x"}}', b"\xff\xfe\0"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(TokenRejected, match="is not a TorchServe key file"):
            use("bad.json")
