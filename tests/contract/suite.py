"""The contract that every kind of hand-off keeps. `test_handoff_contract.py` runs it here, `tests/gpu/` on two GPUs.

Each test gets `case` (what is tested) and `start` (starts a peer: a process with a hand-off of that kind).
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from handoff import HandoffError, HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected
from tests.contract.peers import Peer, digest, make_output, wait_until

MIB = {"length": 2, "tokens": 512, "width": 127}
"""A payload of a little less than 1 MiB."""
BIG = {"length": 2, "tokens": 2048, "width": 1024}
"""A payload of 32 MiB."""


@dataclass(frozen=True)
class Case:
    """A kind, and how it is set up for the suite."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    producer_device: str = "cpu"
    consumer_device: str = "cpu"
    held: bool = True
    """Whether the producer holds the payload (inline: the ticket does)."""
    transport: str = ""
    """What makes the transport, where the package's own table knows no such kind."""
    direct: bool | None = False
    """Whether a take needs nothing of the producer's process but that it lives; None: not known of this kind."""

    def __str__(self) -> str:
        return self.kind


Start = Callable[..., Peer]


def put_soon(producer: Peer, **spec: Any) -> bytes:
    """Put, once there is room again: a producer may need an instant to see that a consumer has died."""
    for _ in range(3000):
        with contextlib.suppress(OverCapacity):
            return producer.ask("put", **spec)
        time.sleep(0.02)
    return producer.ask("put", **spec)


def let_pass(seconds: float, *peers: Peer) -> None:
    """As their clocks have it."""
    for peer in peers:
        peer.ask("shift_clock", seconds)


def take_in_time(producer: Peer, consumer: Peer, **spec: Any) -> None:
    """A take whose time is short: another one should this machine be too slow for it."""
    for _ in range(20):
        with contextlib.suppress(HandoffTimeout, PeerLost):
            consumer.ask("take", producer.ask("put", **spec))
            return
    raise AssertionError("no take was in time")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_values_arrive_bit_for_bit(start: Start, dtype: torch.dtype) -> None:
    producer, consumer = start("producer"), start("consumer")
    for length, tokens, width, frames in ((2, 12, 10, False), (48, 12, 10, True), (3, 9, 7, False), (2, 9, 7, True)):
        spec = {"seed": length, "length": length, "tokens": tokens, "width": width, "dtype": dtype, "frames": frames}
        ticket = producer.ask("put", **spec)
        assert ticket.startswith(b"EDEN-TICKET")
        assert consumer.ask("take", ticket) == digest(make_output(**spec))
    assert producer.ask("in_flight") == 0


def test_tokens_travel_as_the_wire_says_and_statistics_as_they_are(start: Start) -> None:
    producer, consumer = start("producer", wire="bf16"), start("consumer", wire="bf16")
    sent = make_output(seed=1)
    wanted = replace(sent, cond_dit=sent.cond_dit.bfloat16(), cond_dec=sent.cond_dec.bfloat16())
    assert consumer.ask("take", producer.ask("put", seed=1)) == digest(wanted)


def test_nothing_and_much(start: Start) -> None:
    producer, consumer = start("producer"), start("consumer")
    for spec in ({"length": 1}, {"tokens": 0}, {"length": 1, "tokens": 0, "width": 0}, BIG):
        wanted = digest(make_output(seed=4, **spec))
        assert consumer.ask("take", producer.ask("put", seed=4, **spec)) == wanted


def test_a_clip_streams_pair_by_pair(start: Start) -> None:
    producer, consumer = start("producer"), start("consumer")
    spec = {"seed": 2, "length": 5, "frames": True}
    pairs = [digest(pair) for pair in make_output(**spec)]
    assert consumer.ask("stream", producer.ask("put", **spec)) == pairs
    assert producer.ask("in_flight") == 0


def test_from_four_producers_to_three_consumers_none_are_mixed_up(start: Start) -> None:
    producers = [start("producer") for _ in range(4)]
    consumers = [start("consumer") for _ in range(3)]
    tickets: queue.Queue[tuple[int, bytes] | None] = queue.Queue()
    wrong: list[Any] = []

    def put(peer: Peer, first: int) -> None:
        for seed in range(first, first + 50):
            tickets.put((seed, peer.ask("put", seed=seed)))

    def take(peer: Peer) -> None:
        while (item := tickets.get()) is not None:
            try:
                if peer.ask("take", item[1]) != digest(make_output(item[0])):
                    wrong.append(item[0])
            except Exception as error:  # told below
                wrong.append((item[0], error))

    putting = [threading.Thread(target=put, args=(peer, 100 * i)) for i, peer in enumerate(producers)]
    taking = [threading.Thread(target=take, args=(peer,)) for peer in consumers]
    for thread in (*putting, *taking):
        thread.start()
    for thread in putting:
        thread.join()
    for _ in taking:
        tickets.put(None)
    for thread in taking:
        thread.join()
    assert not wrong
    assert [peer.ask("in_flight") for peer in producers] == [0] * 4


def test_a_retry_gets_the_same_payload_until_it_is_dropped_and_never_anothers(case: Case, start: Start) -> None:
    producer, one, other = start("producer", keep_taken=1), start("consumer"), start("consumer")
    first = producer.ask("put", seed=1)
    wanted = digest(make_output(seed=1))
    assert [peer.ask("take", first) for peer in (one, one, other)] == [wanted] * 3
    for seed in (2, 3, 4):
        assert one.ask("take", producer.ask("put", seed=seed)) == digest(make_output(seed=seed))
    producer.ask("put", seed=5)
    if case.held:
        with pytest.raises(PayloadGone):
            one.ask("take", first)
    else:
        assert one.ask("take", first) == wanted


def test_what_is_never_taken_gives_its_memory_back_at_the_deadline(case: Case, start: Start) -> None:
    producer = start("producer", time_to_live_s=600, budget_bytes=2 << 20, max_in_flight=2)
    consumer = start("consumer")
    tickets = [producer.ask("put", seed=seed, **MIB) for seed in (1, 2)]
    with pytest.raises(OverCapacity):
        producer.ask("put", seed=3, **MIB)
    let_pass(601, producer, consumer)
    assert producer.ask("in_flight") == 0
    for ticket in tickets:
        with pytest.raises(TicketRejected, match="expired"):
            consumer.ask("take", ticket)
    producer.ask("put", seed=4, **MIB)
    assert consumer.ask("take", producer.ask("put", seed=5, **MIB)) == digest(make_output(seed=5, **MIB))


def test_over_budget_taken_payloads_make_room_and_then_put_refuses_at_once(case: Case, start: Start) -> None:
    if not case.held:
        pytest.skip("holds nothing: there is no budget to exceed")
    producer, consumer = start("producer", budget_bytes=3 << 20, timeout_s=60), start("consumer")
    tickets = [producer.ask("put", seed=seed, **MIB) for seed in (1, 2, 3)]
    began = time.monotonic()
    with pytest.raises(OverCapacity):
        producer.ask("put", seed=4, **MIB)
    assert time.monotonic() - began < 30  # it does not wait for room, which would take the minute of timeout_s
    assert consumer.ask("take", tickets[1]) == digest(make_output(seed=2, **MIB))
    late = producer.ask("put", seed=5, **MIB)
    with pytest.raises(PayloadGone):
        consumer.ask("take", tickets[1])
    for seed, ticket in ((1, tickets[0]), (3, tickets[2]), (5, late)):
        assert consumer.ask("take", ticket) == digest(make_output(seed=seed, **MIB))
    assert producer.ask("counters")["refused", "capacity"] == 1


def test_too_many_in_flight_are_refused_until_one_is_taken(start: Start) -> None:
    producer, consumer = start("producer", max_in_flight=3), start("consumer")
    tickets = [producer.ask("put", seed=seed) for seed in range(3)]
    for _ in range(3):
        with pytest.raises(OverCapacity):
            producer.ask("put", seed=9)
    assert producer.ask("in_flight") == 3
    consumer.ask("take", tickets[0])
    assert producer.ask("in_flight") == 2
    producer.ask("put", seed=9)


def test_a_payload_over_its_cap_is_neither_put_nor_taken(start: Start) -> None:
    narrow = {"max_payload_bytes": 1 << 16}
    producer, consumer = start("producer"), start("consumer", **narrow)
    with pytest.raises(OverCapacity, match="max_payload_bytes"):
        start("producer", **narrow).ask("put", seed=1, **MIB)
    with pytest.raises(OverCapacity):
        consumer.ask("take", producer.ask("put", seed=1, **MIB))


def test_a_producer_killed_before_the_take_is_peer_lost(case: Case, start: Start) -> None:
    producer, consumer = start("producer"), start("consumer")
    consumer.ask("take", producer.ask("put", seed=0))  # connections that are kept are open now
    ticket = producer.ask("put", seed=1)
    producer.kill()
    began = time.monotonic()
    if case.held:
        with pytest.raises(PeerLost):
            consumer.ask("take", ticket)
    else:
        assert consumer.ask("take", ticket) == digest(make_output(seed=1))
    assert time.monotonic() - began < 30  # not the minute that an answer is waited for here


def outcome(consumer: Peer, **spec: Any) -> str:
    """How the take under way ends: "whole" if every bit is there, else the name of the hand-off's error."""
    try:
        assert consumer.answer() == digest(make_output(**spec))
    except HandoffError as error:
        return type(error).__name__
    return "whole"


@pytest.mark.parametrize("delay", [0, 0.005, 0.02])
def test_a_producer_killed_at_any_moment_of_the_take_does_not_hang_it(start: Start, delay: float) -> None:
    producer, consumer = start("producer"), start("consumer")
    consumer.start("take", producer.ask("put", seed=1, **BIG))
    time.sleep(delay)
    producer.kill()
    assert outcome(consumer, seed=1, **BIG) in {"whole", "PeerLost"}  # it may have had all of it by then
    replacement = start("producer")
    assert consumer.ask("take", replacement.ask("put", seed=2)) == digest(make_output(seed=2))


@pytest.mark.parametrize("killed", [False, True], ids=["for ever", "until it is killed"])
def test_a_producer_that_hangs_ends_the_take_in_time(case: Case, start: Start, killed: bool) -> None:
    longest = 8 if case.kind == "nccl" else 30  # a process group sees a death by its time limit alone
    producer, consumer = start("producer"), start("consumer", timeout_s=longest if killed else 1)
    take_in_time(producer, consumer, seed=0)  # connections that are kept are open now
    ticket = producer.ask("put", seed=1, **BIG)
    producer.pause()
    consumer.start("take", ticket)
    if killed and not case.direct:
        time.sleep(0.2)  # most likely it has asked by then; if it has not, it finds nobody
        producer.kill()
    lost = {"PeerLost"} if killed else {"HandoffTimeout", "PeerLost"}
    expected = {True: {"whole"}, False: lost, None: {"whole", *lost}}[case.direct]
    assert outcome(consumer, seed=1, **BIG) in expected


def test_a_killed_consumer_leaks_nothing(case: Case, start: Start) -> None:
    producer = start("producer", budget_bytes=70 << 20, time_to_live_s=600, max_in_flight=2)
    consumer = start("consumer")
    consumer.start("take", producer.ask("put", seed=1, **BIG))
    time.sleep(random.uniform(0, 0.03))  # whenever it may be
    consumer.kill()
    consumer = start("consumer")
    let_pass(601, producer, consumer)
    assert wait_until(lambda: producer.ask("in_flight") == 0, 60)
    assert consumer.ask("take", put_soon(producer, seed=0)) == digest(make_output(seed=0))
    assert wait_until(lambda: producer.ask("in_flight") == 0, 60)
    put_soon(producer, seed=7, **BIG)  # all of the budget is there again
    assert consumer.ask("take", put_soon(producer, seed=8, **BIG)) == digest(make_output(seed=8, **BIG))


def test_bad_tickets_are_refused_before_anything_is_opened_or_dialled(case: Case, start: Start) -> None:
    producer, consumer = start("producer"), start("consumer")
    stranger = start("producer", folder="elsewhere")
    expired = start("producer", time_to_live_s=0.05).ask("put", seed=1)
    good = producer.ask("put", seed=1)
    time.sleep(0.1)
    places = sorted({0, 11, 13, 20, len(good) // 2, len(good) - 1})
    altered = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in places]
    forged = good.replace(b'"deadline":1', b'"deadline":9')
    assert forged != good
    bad = [
        *altered,
        forged,
        expired,
        stranger.ask("put", seed=1),
        good + b"x",
        good[:-1],
        good[:30],
        b"",
        b'{"code":1}',
    ]
    for ticket in bad:
        assert consumer.ask("refuse", ticket) == []
    assert consumer.ask("counters")["refused", "ticket"] == len(bad)
    assert consumer.ask("take", good) == digest(make_output(seed=1))


def test_two_consumers_at_once_get_the_same_payload(start: Start) -> None:
    producer, consumers = start("producer"), [start("consumer") for _ in range(2)]
    ticket = producer.ask("put", seed=3, **MIB)
    for consumer in consumers:
        consumer.start("take", ticket)
    assert {consumer.answer() for consumer in consumers} == {digest(make_output(seed=3, **MIB))}


def test_nothing_is_left_after_close(case: Case, start: Start) -> None:
    producer, consumer = start("producer"), start("consumer")
    consumer.ask("take", producer.ask("put", seed=0))
    for peer in (producer, consumer):  # what a library keeps for good after its first use is no leak
        peer.ask("close")
    before = [peer.ask("belongings") for peer in (producer, consumer)]
    for round_ in range(2):
        producer.ask("open", start.settings(), case.producer_device)
        consumer.ask("open", start.settings(), case.consumer_device)
        tickets = [producer.ask("put", seed=seed) for seed in (round_, 7)]
        assert consumer.ask("take", tickets[0]) == digest(make_output(seed=round_))
        producer.ask("close")
        consumer.ask("close")
        for peer, belongings in zip((producer, consumer), before, strict=True):
            assert wait_until(lambda peer=peer, had=belongings: peer.ask("belongings") <= had, 30), (
                peer.ask("belongings") - belongings  # fewer are none: a library may have let go of some late
            )
        assert start.litter() == []


def test_what_a_kill_leaves_is_swept_at_the_next_start(start: Start) -> None:
    producer, consumer = start("producer"), start("consumer")
    consumer.ask("take", producer.ask("put", seed=0, **MIB))
    producer.ask("put", seed=1, **MIB)
    producer.kill()
    consumer.kill()
    left = start.litter()
    assert left  # its ledger at least: nothing could tidy up behind a kill -9
    replacement, taker = start("producer"), start("consumer")
    ticket = replacement.ask("put", seed=2)
    assert not set(left) & set(start.litter())
    assert taker.ask("take", ticket) == digest(make_output(seed=2))
    replacement.ask("close")
    taker.ask("close")
    assert start.litter() == []
