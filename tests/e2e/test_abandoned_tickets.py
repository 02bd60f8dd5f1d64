"""Tickets that nobody redeems: the service goes on, and a ticket that gave way is said to be worth nothing."""

from __future__ import annotations

import time

import pytest
import requests

import media
from server import Server
from server.api import BINARY
from tests.e2e.serving import PREDICT, WORKFLOW, moving_frames, pack, wait_for

MOST, WAIT = 6, 1
"""Less than a batch, which may always wait: so it is the number of tickets that is too much here, and not the time."""
CLIP = media.encode_npy(moving_frames())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that gives out few tickets, each good for minutes."""
    folder = tmp_path_factory.mktemp("few")
    settings = ("--set", f"encoder:handoff.max_in_flight={MOST}", "--set", f"encoder:max_wait_s={WAIT}")
    with Server(pack(folder / "store", *settings), folder=folder / "server", ports="free") as running:
        yield running


def encode(server: Server) -> requests.Response:
    return server.api.call(PREDICT[0], data=CLIP, headers=BINARY)


def draw(server: Server, ticket: requests.Response) -> requests.Response:
    return server.api.call(PREDICT[1], data=ticket.content, headers=BINARY)


def between(server: Server) -> bytes:
    return server.api.call(WORKFLOW, data=CLIP, headers=BINARY).content


def is_frame(answer: bytes) -> bool:
    return answer.startswith(media.NPY_MAGIC)


def test_calls_are_served_again_long_before_abandoned_tickets_expire(server: Server):
    tickets = [encode(server) for _ in range(MOST)]
    assert all(ticket.ok for ticket in tickets)
    wait_for(lambda: is_frame(between(server)), 60)  # not the 300 s of a ticket
    assert all(is_frame(between(server)) for _ in range(3 * MOST))
    oldest, newest = draw(server, tickets[0]), draw(server, tickets[-1])
    assert (oldest.status_code, oldest.json()["type"]) == (410, "PayloadGone")
    assert newest.ok  # one at a time, the oldest first, and no more than others needed
    assert draw(server, encode(server)).ok  # what a client does when it is told so


def test_tickets_that_come_late_are_good_as_long_as_nobody_needs_their_room(server: Server):
    ticket = encode(server)
    deadline = time.monotonic() + 2 * WAIT
    while time.monotonic() < deadline:
        assert is_frame(between(server))
    assert draw(server, ticket).ok
