"""Whatever came before, a payload within the budget fits once all others are taken, and none is dropped in vain."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoff import HandoffSettings, OverCapacity, open_handoff
from handoff.buffers.device import SlabAllocator
from handoff.buffers.host import BufferPool, private_buffer
from handoff.errors import PoolExhausted
from handoff.payload.leases import read_lease
from tests.unit.handoff.traffic import BUDGET, MIB, TRAFFIC, check_traffic, held, output, take

pytestmark = pytest.mark.slow

KINDS = ["shared_memory", "http", "nccl", "in_process"]
"""A pool of shared memory, one of private memory as all network kinds have it, slabs (on the CPU here), and none."""


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(TRAFFIC, st.sampled_from([BUDGET, 2 * MIB]))
def test_once_all_is_taken_any_payload_within_the_budget_fits(
    kind: str, actions: list[tuple[str, float]], largest: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="eden-test-", dir="/dev/shm") as name:
        check_traffic(kind, Path(name), actions, largest)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_dropped_than_makes_room(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoff.buffers.device._FIRST_SLAB", MIB)
    common: dict[str, Any] = {"budget_bytes": 8 * MIB, "max_payload_bytes": 4 * MIB, "keep_taken": 1000}
    with open_handoff(HandoffSettings(kind=kind, folder=tmp_path, shared_folder=tmp_path, **common)) as handoff:
        ids = []
        for number in range(8):
            ticket = handoff.put(output(MIB, number))
            ids.append(handoff.read(ticket).id)
            if number != 3:  # the one that is not taken
                take(handoff, ticket, number)
        assert held(handoff) == set(ids)
        handoff.put(output(MIB, 8))
        assert ids[0] not in held(handoff)
        assert held(handoff) >= set(ids[1:])
        before = held(handoff)
        handoff.put(output(2 * MIB, 9))
        assert len(before - held(handoff)) == 2
        before = held(handoff)
        assert ids[3] in before
        handoff.put(output(2 * MIB, 10))  # now 6 MiB of 8 are waiting
        assert len(before - held(handoff)) == 2
        assert ids[3] in held(handoff)
        before = held(handoff)
        with pytest.raises(OverCapacity, match="budget_bytes"):
            handoff.put(output(4 * MIB, 11))
        assert held(handoff) == before


def test_a_payload_that_is_being_read_is_not_dropped_and_nothing_is_for_its_sake(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, budget_bytes=4 * MIB)
    with open_handoff(settings) as handoff:
        tickets = [handoff.put(output(MIB, number)) for number in range(4)]
        for number, ticket in enumerate(tickets):
            take(handoff, ticket, number)
        known = handoff.read(tickets[1])
        with read_lease([tmp_path], known.producer, known.slot, known.id):
            with pytest.raises(OverCapacity):
                handoff.put(output(4 * MIB, 4))
            assert held(handoff) == {handoff.read(ticket).id for ticket in tickets}
            handoff.put(output(2 * MIB, 5))
            assert known.id in held(handoff)


def test_slabs_stay_few_and_leave_room_for_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoff.buffers.device._FIRST_SLAB", 256)
    monkeypatch.setattr("handoff.buffers.device._ALIGNMENT", 1)
    for budget, largest, wanted in (
        (4096, 1024, [256, 256, 512, 1024, 2048]),
        (2048, 1024, [256, 256, 512, 1024]),
        (2048, 1500, [256, 256, 1536]),
        (1024, 1024, [1024]),
        (1024, 9999, [1024]),
        (100, 100, [100]),
    ):
        made: list[int] = []

        def make(nbytes: int, made: list[int] = made) -> torch.Tensor:
            made.append(nbytes)
            return torch.empty(nbytes, dtype=torch.uint8)

        arena = SlabAllocator(budget, largest, make)
        for number in range(budget):
            arena.acquire(str(number), 1)
        assert made == wanted
        with pytest.raises(PoolExhausted, match="budget_bytes"):
            arena.acquire("over", 1)
        for number in range(budget):
            arena.release(str(number))
        assert len(arena.acquire("largest", min(budget, largest)).bytes) == min(budget, largest)


def test_a_device_that_is_full_costs_nothing_that_is_held_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 3 * MIB

    def make(nbytes: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        nonlocal left
        if nbytes > left:
            raise torch.OutOfMemoryError("CUDA out of memory")
        left -= nbytes
        return torch.empty(nbytes, dtype=dtype)

    monkeypatch.setattr("handoff.transports.nccl.transport.torch", SimpleNamespace(**{**vars(torch), "empty": make}))
    monkeypatch.setattr("handoff.buffers.device._FIRST_SLAB", 2 * MIB)
    settings = HandoffSettings(kind="nccl", folder=tmp_path, shared_folder=tmp_path, budget_bytes=16 * MIB)
    with open_handoff(settings) as handoff:
        tickets = [handoff.put(output(MIB, number)) for number in range(3)]  # a slab of 2, and one of what was left
        take(handoff, tickets[0], 0)
        before = held(handoff)
        with pytest.raises(OverCapacity, match="the device has no memory"):
            handoff.put(output(2 * MIB, 3))
        assert held(handoff) == before
        left += 2 * MIB
        take(handoff, handoff.put(output(2 * MIB, 4)), 4)
        for number in (1, 2):
            take(handoff, tickets[number], number)


def test_a_pool_may_hold_all_of_a_budget_that_is_no_round_number() -> None:
    pool = BufferPool(3 * MIB + 77, lambda size: private_buffer(size, None))
    pool.acquire("small", 5)
    pool.release("small")
    assert pool.acquire("large", 3 * MIB + 77).capacity == 3 * MIB + 77
    with pytest.raises(PoolExhausted):
        pool.acquire("another", 1)
    pool.close()
