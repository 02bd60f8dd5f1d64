"""Tickets, and the key that signs them."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eden import EncoderOutput
from handoff import HandoffError, TicketRejected
from handoff.key import load_key
from handoff.payload.layout import Layout
from handoff.ticket import MAGIC, REFUSAL, VERSION, Ticket, sign, sign_refusal, verify, verify_refusal

KEY = b"a key of sixteen"
OUTPUT = EncoderOutput(
    torch.ones(2, 1, 1), torch.ones(2, 1, 1), torch.ones(2), torch.ones(2), torch.ones(1), (1, 1), (9, 9)
)


def ticket(payload: bytes = b"", **options: object) -> Ticket:
    layout = Layout.of(OUTPUT, None)
    routes = ({"kind": "inline"},)
    return Ticket("0" * 32, "1" * 32, 0, time.time(), time.time() + 60, layout, routes, options, memoryview(payload))


SIGNED = sign(ticket(b"payload", seed=3), KEY)


def test_a_ticket_comes_back_as_it_was() -> None:
    sent = ticket(b"payload", seed=3, format="png")
    assert SIGNED.startswith(MAGIC)
    assert verify(sign(sent, KEY), KEY) == sent


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_any_altered_byte_is_refused(place: int, mask: int) -> None:
    altered = bytearray(SIGNED)
    altered[place] ^= mask
    with pytest.raises(TicketRejected):
        verify(bytes(altered), KEY)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    for body in (data, MAGIC + data, MAGIC + VERSION + data):
        with pytest.raises(TicketRejected):
            verify(body, KEY)


@given(st.integers(0, len(SIGNED) - 1))
def test_a_ticket_cut_short_is_refused(length: int) -> None:
    with pytest.raises(TicketRejected):
        verify(SIGNED[:length], KEY)


def test_another_servers_key_is_refused() -> None:
    with pytest.raises(TicketRejected, match="signature"):
        verify(SIGNED, b"another key of 16")


REFUSED = sign_refusal(b'{"code": 400}', KEY)


def test_a_refusal_comes_back_as_it_was_and_is_no_ticket() -> None:
    assert verify_refusal(REFUSED, KEY) == b'{"code": 400}'
    assert verify_refusal(SIGNED, KEY) is None
    with pytest.raises(TicketRejected, match="not a ticket"):
        verify(REFUSED, KEY)


@given(st.integers(0, len(REFUSED) - 1), st.integers(1, 255))
def test_an_altered_refusal_is_none(place: int, mask: int) -> None:
    altered = bytearray(REFUSED)
    altered[place] ^= mask
    if place < len(REFUSAL):
        assert verify_refusal(bytes(altered), KEY) is None
    else:
        with pytest.raises(TicketRejected, match="not signed with this server's key"):
            verify_refusal(bytes(altered), KEY)


@given(st.binary(max_size=200))
def test_words_of_a_stranger_are_no_refusal(data: bytes) -> None:
    assert verify_refusal(b"{" + data, KEY) is None
    for body in (REFUSAL + data, REFUSAL + VERSION + data, sign_refusal(data, b"another key of 16")):
        with pytest.raises(TicketRejected):
            verify_refusal(body, KEY)


@pytest.mark.parametrize("options", [{"a": object()}, {"a": float("nan")}, {"a": "x" * 70_000}])
def test_options_that_cannot_travel_are_named(options: dict[str, object]) -> None:
    with pytest.raises(HandoffError, match="ticket"):
        sign(ticket(**options), KEY)


def test_the_key_is_made_once_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDEN_HANDOFF_KEY", raising=False)
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(load_key(tmp_path / "new"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["handoff.key"]
    assert stat.S_IMODE((tmp_path / "new" / "handoff.key").stat().st_mode) == 0o600


def test_the_environments_key_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDEN_HANDOFF_KEY", "sixteen or longer")
    assert load_key(tmp_path) == b"sixteen or longer"
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("EDEN_HANDOFF_KEY", "short")
    with pytest.raises(HandoffError, match="EDEN_HANDOFF_KEY has 5 characters"):
        load_key(tmp_path)
