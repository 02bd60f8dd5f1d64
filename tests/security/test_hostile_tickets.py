"""Tickets that nobody here signed, or that somebody altered, kept or took twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import media
from handoff.key import load_key
from handoff.ticket import MAGIC, REFUSAL, VERSION, sign, sign_refusal, verify
from server import Server
from tests.security.group import Case, attack, for_target
from tests.security.targets import DECODER_TARGET, ENCODER_TARGET, READ_TICKETS, WORKFLOW_TARGET, Call, Client, Target
from tests.security.wire import Part

REJECTED = frozenset({403})
GONE = frozenset({410})


@pytest.fixture
def key(server: Server) -> bytes:
    """The key with which this server's tickets are signed: what an operator holds, and no caller."""
    return load_key(server.folder)


def rejected(name: str, body: bytes, word: str = "") -> Case:
    return Case(name, Call(body), REJECTED, (word,) if word else (), "TicketRejected")


def regions(ticket: bytes) -> Iterator[tuple[str, int]]:
    """A place in each part of a ticket, and some more of them."""
    end = len(ticket) - hashlib.sha256().digest_size
    yield from (("magic", at) for at in range(0, len(MAGIC), 3))
    yield "version", len(MAGIC)
    yield from (("length", at) for at in range(len(MAGIC) + 1, len(MAGIC) + 5))
    yield from (("fields", at) for at in range(len(MAGIC) + 5, end, 23))
    yield from (("signature", at) for at in range(end, len(ticket), 7))
    yield "the last byte", len(ticket) - 1


@pytest.mark.parametrize("target", READ_TICKETS, ids=str)
def test_a_ticket_altered_or_cut(client: Client, target: Target, ticket: bytes):
    altered = [
        rejected(f"bit {bit} of byte {at} ({part})", ticket[:at] + bytes([ticket[at] ^ 1 << bit]) + ticket[at + 1 :])
        for part, at in regions(ticket)
        for bit in (0, 7)
    ]
    cut = [rejected(f"cut at {at}", ticket[:at]) for at in (1, 5, len(MAGIC), 12, 16, 17, *range(40, len(ticket), 60))]
    more = [
        rejected("a byte more", ticket + b"\0"),
        rejected("a megabyte more", ticket + bytes(1 << 20)),
        rejected("twice", ticket * 2),
        rejected("a byte before", b"\0" + ticket),
        rejected("in capitals", ticket.upper()),
        rejected("in hexadecimal", ticket.hex().encode()),
        rejected("a length of 4 GB", MAGIC + VERSION + b"\xff\xff\xff\xff" + ticket[16:]),
        rejected("a length of 0", MAGIC + VERSION + bytes(4) + ticket[16:]),
    ]
    attack(client, target, for_target(target, altered + cut + more))
    assert client.call(target, Call(ticket)).code == 200  # the true one still works


@pytest.mark.parametrize("target", READ_TICKETS, ids=str)
def test_a_ticket_of_another_key_or_time(client: Client, target: Target, ticket: bytes, key: bytes):
    true = verify(ticket, key)

    def signed(by: bytes, **changes: object) -> bytes:
        return sign(dataclasses.replace(true, **changes), by)

    others = {
        "of 16 letters": b"a key of sixteen",
        "empty": b"",
        "with its last letter gone": key[:-1],
        "twice": key * 2,
    }
    cases = [rejected(f"the key {what}", signed(other), "signature") for what, other in others.items()]
    cases += [
        rejected(f"expired {late} s ago", signed(key, deadline=time.time() - late), "expired")
        for late in (0.5, 60, 1e9)
    ]
    cases += [
        Case("a payload that is not there", Call(signed(key, id="0" * 32)), GONE),
        Case("a place that is not there", Call(signed(key, slot=true.slot + 1_000)), GONE),
    ]
    attack(client, target, cases)
    assert client.call(target, Call(ticket)).code == 200


def test_a_ticket_that_is_brought_again_and_again(client: Client, ticket: bytes):
    """It may be, for a while: a decoder that died has its batch done again. What it draws is the same."""
    target = DECODER_TARGET
    cases = [Case(f"replay {i}", Call(ticket), frozenset({200, 410})) for i in range(40)]
    answers = attack(client, target, cases)
    drawn = [
        media.decode_npy(each.body, max_pixels=10**6, max_frames=9) for each in answers.values() if each.code == 200
    ]
    assert drawn and all(np.abs(each.astype(int) - drawn[0]).max() <= 1 for each in drawn)


@pytest.mark.parametrize("target", READ_TICKETS, ids=str)
def test_a_refusal_that_nobody_signed(client: Client, target: Target, key: bytes):
    words = b'{"code": 204, "type": "x", "message": "y"}'
    true = sign_refusal(b'{"code": 418, "type": "BadRequest", "message": "no", "retry": "never"}', key)
    cases = [
        rejected("no signature", REFUSAL + VERSION + words, "not signed with this server's key"),
        Case(
            "no signature, of JSON's type",
            Call(REFUSAL + VERSION + words, content_type="application/json"),
            REJECTED,
            ("not signed with this server's key",),
            "TicketRejected",
        ),
        Case(
            "no signature, in a form",
            Call((Part("ticket", REFUSAL + VERSION + words, "application/json", "ticket"),)),
            REJECTED,
            ("not signed with this server's key",),
            "TicketRejected",
        ),
        rejected("nothing after it", REFUSAL, "not signed"),
        rejected("another version", REFUSAL + b"\x02" + true[len(REFUSAL) + 1 :], "not signed"),
        rejected("another key", sign_refusal(words, b"a key of sixteen"), "not signed"),
        rejected("other words", true[:-1] + b"]", "not signed"),
        rejected("no words", true[: len(REFUSAL) + 33], "not signed"),
        rejected("half a signature", true[: len(REFUSAL) + 17], "not signed"),
        *(
            rejected(f"bit of byte {at}", true[:at] + bytes([true[at] ^ 4]) + true[at + 1 :])
            for at in range(0, len(true), 5)
        ),
    ]
    attack(client, target, for_target(target, cases))
    assert client.call(target, Call(true)).code == 418


CODES = [
    "-1",
    "0",
    "99",
    "101",
    "200",
    "204",
    "304",
    "400",
    "600",
    "1000",
    '"abc"',
    "null",
    "[]",
    "1e400",
    "4294967296",
    "NaN",
]
STRANGE = {f"a status of {code}": b'{"code": %s, "type": "x", "message": "y"}' % code.encode() for code in CODES} | {
    "100,000 nested objects": b'{"a":' * 100_000,
    "100,000 brackets": b"{" * 100_000,
    "a label of our metrics": b'{"code": 418, "type": "x\\n", "message": "y"}',
    "a ticket's fields": json.dumps(
        {"id": "0" * 32, "deadline": 1e12, "routes": [{"kind": "http", "port": 1}]}
    ).encode(),
    "a list": b"[]",
    "a text": b'"EDEN-TICKET"',
    "null": b"null",
    "a number": b"7",
    "a megabyte": b'"' + b"x" * (1 << 20) + b'"',
}


@pytest.mark.parametrize("target", READ_TICKETS, ids=str)
def test_json_of_a_strangers_is_a_bad_ticket_and_no_more(client: Client, target: Target):
    cases = [
        case
        for name, body in STRANGE.items()
        for case in (
            rejected(name, body, "not a ticket"),
            Case(
                f"{name}, of JSON's type",
                Call(body, content_type="application/json"),
                REJECTED,
                ("not a ticket",),
                "TicketRejected",
            ),
            Case(
                f"{name}, in a form",
                Call((Part("ticket", body, "application/json", "ticket"),)),
                REJECTED,
                ("not a ticket",),
            ),
        )
    ]
    attack(client, target, for_target(target, cases))


@pytest.mark.parametrize("target", READ_TICKETS, ids=str)
def test_what_is_no_ticket(client: Client, target: Target):
    bodies = (
        b"EDEN-TICKET forged",
        b"anything",
        MAGIC,
        MAGIC + VERSION,
        b"\0" * 1000,
        bytes(1 << 20),
        b"EDEN-",
        b"\xff" * 99,
    )
    cases = [rejected(repr(body[:20]) + str(len(body)), body) for body in bodies]
    cases += [Case("nothing", Call(b""), frozenset({400}), ("no ticket",), "BadRequest")]
    cases += [
        Case(f"a ticket as {name}", Call((Part(name, MAGIC + VERSION),)), codes) for name, codes in FIELDS.items()
    ]
    attack(client, target, cases)


FIELDS = {
    "ticket": REJECTED,
    "body": REJECTED,
    "data": REJECTED,
    "TICKET": frozenset({400}),
    "frame0": frozenset({400}),
}


def test_a_ticket_is_no_clip(client: Client, ticket: bytes):
    attack(
        client, WORKFLOW_TARGET, [Case("a ticket", Call(ticket)), Case("in a form", Call((Part("ticket", ticket),)))]
    )
    assert client.call(DECODER_TARGET, Call(ticket)).code == 200


def test_what_the_encoder_refuses_comes_through_the_decoder_as_it_was(client: Client):
    direct, through = (client.call(target, Call(b"no clip")) for target in (ENCODER_TARGET, WORKFLOW_TARGET))
    assert direct.body == through.body
    assert (direct.code, direct.status, through.status) == (400, 400, 200)
    assert direct.envelope and "not a readable video" in direct.envelope["message"]


@settings(max_examples=2, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.binary(max_size=200), st.sampled_from((b"", MAGIC, MAGIC + VERSION, REFUSAL, REFUSAL + VERSION))),
        min_size=24,
        max_size=24,
    )
)
def test_any_bytes(client: Client, bodies: list[tuple[bytes, bytes]]):
    for target in READ_TICKETS:
        cases = [
            Case(f"{i}: {front!r}{data!r}", Call(front + data), frozenset({403}) if front + data else frozenset({400}))
            for i, (data, front) in enumerate(bodies)
        ]
        attack(client, target, cases[:: target.step])
