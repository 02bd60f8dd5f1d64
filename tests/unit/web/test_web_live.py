"""Live pictures over a WebSocket: doubled in order, and what is late is dropped."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from eden_client.cli import connect as command
from media import decode_image, encode_image
from tests.unit.web.services import AWAY, LIMITS, PATIENCE, Blending, running
from web import app, live
from web.live import DRAWN, STAMP, Live

TOKEN = "a-token-of-a-test-0123456789"


class Gate(Blending):
    """Blends two frames once it is opened."""

    opened = threading.Event()

    def interpolate_pair(self, first, second):
        assert self.opened.wait(PATIENCE)
        return super().interpolate_pair(first, second)


@pytest.fixture
def gate(monkeypatch):
    """Whether anything is drawn."""
    monkeypatch.setattr(command, "EdenClient", Gate)
    monkeypatch.setattr(Gate, "opened", threading.Event())
    yield Gate.opened
    Gate.opened.set()


@pytest.fixture
def visitor(tmp_path, gate):
    with running(tmp_path / "web", at_once=0) as visitor:
        yield visitor


def opened(visitor, headers=None, **options):
    address = visitor.url.replace("http://", "ws://")
    return connect(f"{address}/v1/live", additional_headers=headers, proxy=None, open_timeout=PATIENCE, **options)


def picture(number, size=(48, 64)):
    """A grey one, and its number as its time."""
    return STAMP.pack(number) + encode_image(np.full((*size, 3), 8 * number, np.uint8), "jpeg", 95)


def drawn(socket):
    """The next picture: the two times, and what it shows."""
    while isinstance(message := socket.recv(PATIENCE), str):
        assert json.loads(message)["type"] == "rates", message
    first, second, delay = DRAWN.unpack_from(message)
    assert 0 <= delay < 1000 * PATIENCE
    return first, second, round(decode_image(message[DRAWN.size :], max_pixels=10**6).mean() / 8, 1)


def told(socket, wanted):
    """What is told as text, once it is this."""
    while not (isinstance(message := socket.recv(PATIENCE), str) and wanted(read := json.loads(message))):
        pass
    return read


def test_the_picture_between_each_two_comes_with_their_times(visitor, gate):
    gate.set()
    with opened(visitor) as socket:
        socket.send(picture(0))
        for number in range(1, 6):
            socket.send(picture(number))
            assert drawn(socket) == (number - 1, number, pytest.approx(number - 0.5, abs=0.2))
        rates = told(socket, lambda read: read["type"] == "rates" and read["drawn"])
        assert rates["seconds"] > 0 and rates["dropped"] == 0 and rates["delay_ms"] > 0


def test_what_is_late_is_dropped_and_one_pair_waits(visitor, gate):
    with opened(visitor) as socket:
        for number in range(7):
            socket.send(picture(number))
        dropped = 0
        while dropped < 4:
            dropped += told(socket, lambda read: read["type"] == "rates")["dropped"]
        assert dropped == 4
        gate.set()
        assert [drawn(socket)[:2] for _ in range(2)] == [(0, 1), (5, 6)]
        socket.send(picture(7))
        assert drawn(socket)[:2] == (6, 7)


def test_one_is_sent_while_the_next_is_drawn(visitor, gate, monkeypatch):
    gate.set()
    calls, second = [], threading.Event()
    between = Gate.interpolate_pair

    def called(self, first, other):
        calls.append(first)
        if len(calls) == 2:
            second.set()
        return between(self, first, other)

    def encoded(*picture):
        assert second.wait(PATIENCE)
        return encode_image(*picture)

    monkeypatch.setattr(Gate, "interpolate_pair", called)
    monkeypatch.setattr(live, "encode_image", encoded)
    with opened(visitor) as socket:
        for number in range(3):
            socket.send(picture(number))
        assert [drawn(socket)[:2] for _ in range(2)] == [(0, 1), (1, 2)]


def test_pictures_of_another_size_begin_anew(visitor, gate):
    gate.set()
    with opened(visitor) as socket:
        socket.send(picture(0))
        socket.send(picture(1, (64, 48)))
        socket.send(picture(2, (64, 48)))
        found = drawn(socket)
        assert found[:2] == (1, 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (STAMP.pack(1) + b"no picture", "not a readable image"),
        (STAMP.pack(1) + encode_image(np.zeros((8, 8, 3), np.uint8), "png"), "not a readable image"),
        (picture(1, (1100, 2000)), "are allowed"),
    ],
)
def test_what_is_no_picture_is_said_and_the_exchange_goes_on(visitor, gate, data, words):
    gate.set()
    with opened(visitor) as socket:
        socket.send(data)
        socket.send(picture(2))
        assert words in told(socket, lambda read: read["type"] == "error")["message"]
        socket.send(picture(3))
        assert drawn(socket)[:2] == (2, 3)


def test_a_server_that_is_away_is_said(tmp_path):
    with running(tmp_path / "web", at_once=0, film_options=AWAY) as visitor, opened(visitor) as socket:
        for number in range(2):
            socket.send(picture(number))
        assert "127.0.0.1:9" in told(socket, lambda read: read["type"] == "error")["message"]


def code_of_end(socket):
    """What it is ended with."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            socket.recv(PATIENCE)
    return ended.value.rcvd.code


@pytest.mark.parametrize("message", ["text", b"short"])
def test_what_is_no_message_ends_it(visitor, message):
    with opened(visitor) as socket:
        socket.send(message)
        assert code_of_end(socket) == 1008


def test_a_message_that_is_too_long_ends_it_before_it_comes(visitor):
    """Its head says how long it is to be: 2 bytes, 8 with the length, and 4 of the mask."""
    message = Frame(Opcode.BINARY, STAMP.pack(0) + bytes(live.LARGEST)).serialize(mask=True)
    with opened(visitor) as socket:
        socket.socket.sendall(message[:14])
        assert code_of_end(socket) == 1009


def test_more_pictures_than_are_looked_at_are_dropped(visitor, gate, monkeypatch):
    monkeypatch.setattr(live, "MOST_PER_SECOND", 0)
    gate.set()
    with opened(visitor) as socket:
        for number in range(5):
            socket.send(picture(number))
        came = 0
        while came < 5:
            report = told(socket, lambda read: read["type"] == "rates" and read["came"])
            assert report["dropped"] == report["came"] and report["drawn"] == 0
            came += report["came"]


def test_exchanges_are_bounded_and_those_that_end_make_room(tmp_path, gate):
    with running(tmp_path / "web", replace(LIMITS, live=1), at_once=0) as visitor:
        with opened(visitor), pytest.raises(InvalidStatus) as refused, opened(visitor):
            pass
        assert refused.value.response.status_code == 503
        until = time.monotonic() + PATIENCE
        while True:
            try:
                with opened(visitor):
                    break
            except InvalidStatus:
                assert time.monotonic() < until
                time.sleep(0.02)


def test_one_that_sends_nothing_is_ended(tmp_path, gate, monkeypatch):
    monkeypatch.setattr(app, "Live", lambda eden, limits: Live(eden, replace(limits, receive_s=0.1)))
    with running(tmp_path / "web", at_once=0) as visitor, opened(visitor) as socket:
        assert code_of_end(socket) == 1001


def test_a_service_that_ends_ends_them(tmp_path, gate):
    with ExitStack() as open_:
        with running(tmp_path / "web", at_once=0) as visitor:
            socket = open_.enter_context(opened(visitor))
            for number in range(3):
                socket.send(picture(number))
            told(socket, lambda read: read["type"] == "rates")
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(PATIENCE)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Cookie": "eden_session=no"}, 401),
    ],
)
def test_other_sites_and_strangers_open_none(tmp_path, headers, status):
    with running(tmp_path / "web", at_once=0, token=TOKEN) as visitor:
        with pytest.raises(InvalidStatus) as refused, opened(visitor, headers):
            pass
        assert refused.value.response.status_code == status
        begun = visitor.post("/v1/session", json={"token": TOKEN})
        cookie = begun.headers["Set-Cookie"].partition(";")[0]
        with opened(visitor, {"Cookie": cookie, "Origin": visitor.url}):
            pass
