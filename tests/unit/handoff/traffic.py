"""Random traffic through a hand-off: puts of all sizes, takes in any order, and tickets that expire."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import strategies as st

from eden import EncoderOutput
from handoff import Handoff, HandoffSettings, OverCapacity, open_handoff
from handoff.payload.layout import Layout
from handoff.payload.leases import read_lease

KIB, MIB = 1 << 10, 1 << 20
FRONT = Layout.of(
    EncoderOutput(*[torch.zeros(2, 0, 1)] * 2, *[torch.zeros(2)] * 2, torch.zeros(1), (1, 1), (1, 1)), None
)


def output(nbytes: int, value: int) -> EncoderOutput:
    """An output that travels as `nbytes`, at most 15 fewer."""
    tokens = (nbytes - FRONT.nbytes) // 16
    filled = torch.full((2, tokens, 1), float(value))
    return EncoderOutput(filled, filled, torch.zeros(2), torch.zeros(2), torch.zeros(1), (1, 1), (1, 1))


def take(handoff: Handoff, ticket: bytes, value: int) -> None:
    """What a consumer of another process does, without the way there: look at the payload, and mark it taken."""
    known = handoff.read(ticket)
    assert handoff._producer.store is not None
    payload = handoff._producer.store._payloads[known.id]
    if payload.body is not None:
        first, last = known.layout.entries[0].start, known.layout.entries[1].stop
        assert (payload.body[first:last].view(torch.float32) == value).all()
    with read_lease(handoff.settings.ledger_folders, known.producer, known.slot, known.id) as held:
        held.mark_taken()


def held(handoff: Handoff) -> set[str]:
    return set(handoff._producer.store._payloads) if handoff._producer.store else set()


ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.floats(0, 1)),
    st.tuples(st.just("put"), st.floats(0, 0.05)),
    st.tuples(st.just("take"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("expire"), st.just(0.0)),
)


TRAFFIC = st.lists(ACTIONS, max_size=50)
BUDGET = Layout.of(output(5 * MIB - 1000, 0), None).nbytes
"""Bytes, and no round number; a payload may have exactly as many."""


def check_traffic(kind: str, folder: Path, actions: list[tuple[str, float]], largest: int) -> None:
    """Refused is nothing that would have room, and no try that fails costs others; in the end the budget is all there.

    `largest`: bytes of a payload at most, up to BUDGET.
    """
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(ahead=0.0)
        patch.setattr("handoff.buffers.device._FIRST_SLAB", 512 * KIB)
        moved = SimpleNamespace(**{**vars(time), "time": lambda: time.time() + clock.ahead})
        patch.setattr("handoff.payload.store.time", moved)
        patch.setattr("handoff.ticket.time", moved)
        settings = HandoffSettings(
            kind=kind,
            folder=folder,
            shared_folder=folder,
            budget_bytes=BUDGET,
            max_payload_bytes=largest,
            keep_taken=1000,
        )
        with open_handoff(settings) as handoff:
            waiting: list[tuple[bytes, int]] = []
            for number, (action, size) in enumerate(actions):
                if action == "put":
                    before = held(handoff)
                    try:
                        waiting.append((handoff.put(output(int(KIB + size * (largest - KIB)), number)), number))
                    except OverCapacity:
                        assert waiting, "refused, though all that was put before has been taken"
                        assert held(handoff) == before, "a try that failed dropped what others may need"
                elif action == "take" and waiting:
                    take(handoff, *waiting.pop(int(size * len(waiting))))
                elif action == "expire":
                    clock.ahead += 100
                    waiting.clear()
                    assert handoff.in_flight() == 0
            for ticket, number in waiting:
                take(handoff, ticket, number)
            for size in (int(0.7 * largest), largest):
                ticket = handoff.put(output(size, 7))
                assert largest != BUDGET or size != largest or handoff.read(ticket).layout.nbytes == BUDGET
                take(handoff, ticket, 7)
