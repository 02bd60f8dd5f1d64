"""Payloads that nobody comes for give way to others at the bounds; those that wait their turn never do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eden import EncoderOutput
from handoff import HandoffSettings, OverCapacity, PayloadGone, open_handoff
from handoff.payload import store
from handoff.payload.leases import read_lease
from handoff.payload.store import Payload, PayloadStore

BOUND, AFTER = 8, 5.0


class Producer:
    """Payloads under a clock of its own, and a consumer that takes them."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.counters: Counter[tuple[str, str]] = Counter()
        self.settings = HandoffSettings(
            folder=folder,
            shared_folder=folder,
            max_in_flight=BOUND,
            keep_taken=0,
            time_to_live_s=300,
            abandoned_after_s=AFTER,
        )
        self.payloads = PayloadStore(self.settings, self.counters, self._drop)
        self._held: set[str] = set()

    def put(self, count: int = 1, *, by_caller: bool = True) -> list[Payload]:
        """So many, at once; those are in nobody's queue."""
        put = []
        for _ in range(count):
            assert self.payloads.room(by_caller) > 0
            payload = self.payloads.admit(1, by_caller)
            self.payloads.keep(payload)
            self._held.add(payload.id)
            put.append(payload)
        return put

    def take(self, payload: Payload) -> None:
        assert payload.slot is not None
        folders = self.settings.ledger_folders
        with read_lease(folders, self.payloads.leases.producer, payload.slot, payload.id) as held:
            held.mark_taken()

    def make_room(self) -> bool:
        """Ask for the bytes of one payload."""
        return self.payloads.make_room(lambda dropped: len(dropped) > 0)

    def is_full(self, *, by_caller: bool = True) -> bool:
        """Whether it says so, and the next is refused."""
        if self.payloads.room(by_caller) > 0:
            return False
        with pytest.raises(OverCapacity, match=f"{BOUND} payloads are in flight") as refused:
            self.payloads.admit(1, by_caller)
        assert refused.value.bound == "in_flight"
        return True

    def held(self) -> set[str]:
        """The ids of all that was put and not dropped, taken or not."""
        return set(self._held)

    def _drop(self, payload: Payload) -> None:
        self._held.remove(payload.id)


@pytest.fixture
def producer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Producer]:
    made = Producer(tmp_path)
    clock = SimpleNamespace(**{**vars(time), "time": lambda: made.now})
    monkeypatch.setattr("handoff.payload.store.time", clock)
    yield made
    made.payloads.close()


def ids(payloads: list[Payload]) -> set[str]:
    return {payload.id for payload in payloads}


def test_what_nobody_comes_for_stops_other_callers_for_a_moment_only(producer: Producer) -> None:
    abandoned = producer.put(BOUND)
    for _ in range(10):
        assert producer.is_full()
        producer.now += AFTER / 10
    producer.now += 0.1
    (probe,) = producer.put()
    assert producer.is_full()
    assert ids(abandoned) <= producer.held()  # the consumer may be slow: nobody knows yet
    producer.take(probe)
    served = producer.put(BOUND, by_caller=False)
    assert not ids(abandoned) & producer.held()
    assert ids(served) <= producer.held()
    assert producer.counters["abandoned", ""] == BOUND
    assert producer.is_full(by_caller=False)


def test_whoever_takes_tickets_without_end_never_stops_the_workflow(producer: Producer) -> None:
    kept = producer.put(BOUND)
    assert producer.payloads.room(by_caller=False) == BOUND - BOUND // 2
    for _ in range(50):
        assert producer.is_full()
        (live,) = producer.put(by_caller=False)
        producer.take(live)
        while producer.payloads.room() > 0:
            kept += producer.put()
    live_ones = producer.put(BOUND - BOUND // 2, by_caller=False)
    assert ids(live_ones) <= producer.held()
    assert producer.is_full(by_caller=False)  # the other half stays the callers'
    assert ids(kept[-(BOUND // 2) :]) <= producer.held()


def test_bytes_that_callers_hold_beyond_half_are_room_for_the_workflow(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, budget_bytes=8, max_payload_bytes=4)
    dropped: list[str] = []
    payloads = PayloadStore(settings, Counter(), lambda payload: dropped.append(payload.id))
    kept = [payloads.admit(2, by_caller=True) for _ in range(4)]
    for payload in kept:
        payloads.keep(payload)

    def fits(gone: Collection[str]) -> bool:
        return len(gone) >= 2

    assert payloads.room(by_caller=True) == settings.max_in_flight - 4
    assert payloads.room(by_caller=False) == settings.max_in_flight - 4 + 2
    assert not payloads.make_room(fits, by_caller=True)
    assert payloads.make_room(fits, by_caller=False)
    assert dropped == [payload.id for payload in kept[:2]]
    assert not payloads.make_room(lambda gone: len(gone) >= 1, by_caller=False)
    payloads.close()


def test_half_is_the_callers_to_the_byte(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, budget_bytes=8, max_payload_bytes=4)
    dropped: list[str] = []
    payloads = PayloadStore(settings, Counter(), lambda payload: dropped.append(payload.id))
    kept = [payloads.admit(nbytes, by_caller=True) for nbytes in (1, 1, 1, 2)]
    for payload in kept:
        payloads.keep(payload)
    assert payloads.make_room(lambda gone: len(gone) >= 1, by_caller=False)
    assert dropped == [kept[0].id]
    assert not payloads.make_room(lambda gone: len(gone) >= 1, by_caller=False)
    payloads.close()


def test_the_ledger_has_room_for_all_that_may_be_held(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, max_in_flight=5, keep_taken=3)
    payloads = PayloadStore(settings, Counter(), lambda payload: None)
    before = payloads.leases.path.stat().st_size
    for number in range(5 + 3 + 1):
        payloads.leases.enter(f"{number:032x}")
    assert payloads.leases.path.stat().st_size == before
    payloads.close()


def test_the_oldest_give_way_first_and_no_more_than_must(producer: Producer) -> None:
    abandoned = producer.put(BOUND - 1)
    producer.now += AFTER + 1
    producer.take(*producer.put())
    assert ids(abandoned) <= producer.held()
    producer.put(3)
    assert producer.held() >= ids(abandoned[2:])
    assert not producer.held() & ids(abandoned[:2])


def test_what_the_last_one_makes_needless_is_kept(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, keep_taken=8)
    dropped: list[str] = []
    payloads = PayloadStore(settings, Counter(), lambda payload: dropped.append(payload.id))
    sizes: dict[str, int] = {}
    for nbytes in (1, 2, 5):
        payload = payloads.admit(nbytes)
        sizes[payload.id] = nbytes
        slot = payloads.keep(payload)
        with read_lease(settings.ledger_folders, payloads.leases.producer, slot, payload.id) as held:
            held.mark_taken()
    assert payloads.in_flight() == 0
    assert payloads.make_room(lambda gone: sum(sizes[each] for each in gone) >= 5)
    assert [sizes[each] for each in dropped] == [5]
    payloads.close()
    assert sorted(sizes[each] for each in dropped) == [1, 2, 5]


def test_a_payload_is_found_from_when_it_was_written_until_it_is_dropped(producer: Producer) -> None:
    payloads = producer.payloads
    payload = payloads.admit(7)
    assert payloads.find(payload.id) is None
    slot = payloads.keep(payload)
    assert payloads.find(payload.id) is payload and payload.slot == slot
    assert (payloads.in_flight(), payloads.in_flight_bytes()) == (1, 7)
    assert payloads.find("0" * 32) is None
    producer._held.add(payload.id)
    payloads.withdraw(payload)
    assert payloads.find(payload.id) is None
    assert (payloads.in_flight(), payloads.in_flight_bytes()) == (0, 0)
    with (
        pytest.raises(PayloadGone),
        read_lease(producer.settings.ledger_folders, payloads.leases.producer, slot, payload.id),
    ):
        pass


def test_a_payload_expires_when_its_time_is_over_but_not_while_it_is_read(producer: Producer) -> None:
    (read, other) = producer.put(2)
    assert read.slot is not None
    producer.now += producer.settings.time_to_live_s - 0.1
    assert producer.payloads.in_flight() == 2 and ids([read, other]) == producer.held()
    with read_lease(producer.settings.ledger_folders, producer.payloads.leases.producer, read.slot, read.id):
        producer.now += 0.1
        assert producer.payloads.in_flight() == 0
        assert producer.held() == {read.id}
    assert producer.payloads.in_flight() == 0 and producer.held() == set()
    assert producer.counters == {("expired", ""): 2}
    producer.take(*producer.put())
    producer.now += producer.settings.time_to_live_s
    assert producer.payloads.in_flight() == 0 and producer.held() == set()
    assert producer.counters == {("expired", ""): 2, ("dropped", ""): 1}


def test_what_was_taken_is_kept_for_a_retry_as_the_settings_say(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, keep_taken=2)
    dropped: list[str] = []
    counters: Counter[tuple[str, str]] = Counter()
    payloads = PayloadStore(settings, counters, lambda payload: dropped.append(payload.id))
    taken = []
    for _ in range(5):
        payload = payloads.admit(1)
        slot = payloads.keep(payload)
        with read_lease(settings.ledger_folders, payloads.leases.producer, slot, payload.id) as held:
            held.mark_taken()
        taken.append(payload.id)
    payloads.admit(1)
    assert dropped == taken[:3]
    assert counters == {("dropped", ""): 3}
    payloads.close()


def test_a_payload_larger_than_any_may_be_is_refused(tmp_path: Path) -> None:
    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path, budget_bytes=8, max_payload_bytes=4)
    payloads = PayloadStore(settings, Counter(), lambda payload: None)
    with pytest.raises(OverCapacity, match=r"of 5 bytes; at most 4 are allowed \(max_payload_bytes\)") as refused:
        payloads.admit(5)
    assert refused.value.bound == "room"
    assert payloads.admit(4).nbytes == 4
    payloads.close()


@pytest.mark.parametrize("seconds", [0.1, 20.0])
def test_under_overload_nothing_gives_way_that_will_have_its_turn(producer: Producer, seconds: float) -> None:
    """A consumer, quick or slow, that takes in order, nearly; and more callers than it can serve."""
    queue = producer.put(BOUND)
    for _ in range(60):
        producer.now += seconds
        turn = 1 if len(queue) > 1 else 0  # calls overtake one another on their way to the consumer
        producer.take(queue.pop(turn))
        while producer.payloads.room() > 0:
            queue += producer.put()
            producer.now += 0.01
        assert ids(queue) <= producer.held()
        if turn:
            producer.take(queue.pop(0))
            queue += producer.put()
    assert producer.counters["abandoned", ""] == 0


def test_a_consumer_that_hangs_costs_nobody_their_turn(producer: Producer) -> None:
    queue = producer.put(BOUND)
    for _ in range(20):
        producer.now += AFTER + 0.1
        queue += producer.put()  # one now and then, to see
        assert producer.is_full()
    for payload in queue:
        producer.take(payload)
    assert producer.counters["abandoned", ""] == 0


def test_what_torchserve_itself_passes_on_never_counts_as_abandoned(producer: Producer) -> None:
    """A batch whose consumer died is taken after all that waited."""
    delayed = producer.put(BOUND, by_caller=False)
    producer.now += AFTER + 0.1
    (probe,) = producer.put()
    producer.take(probe)
    producer.now += 0.1
    assert producer.is_full(by_caller=False)
    assert producer.make_room()  # the probe's
    assert not producer.make_room()
    assert ids(delayed) <= producer.held()


def test_what_is_being_read_is_not_taken_away(producer: Producer) -> None:
    abandoned = producer.put(BOUND)
    slow, folders = abandoned[0], producer.settings.ledger_folders
    assert slow.slot is not None
    with read_lease(folders, producer.payloads.leases.producer, slow.slot, slow.id):
        producer.now += AFTER + 0.1
        producer.take(*producer.put())
        producer.put(2)
        assert slow.id in producer.held()


def test_bytes_of_what_was_abandoned_are_room(producer: Producer) -> None:
    """Where the budget is spent long before the number of payloads is reached."""
    abandoned = producer.put(3)
    assert not producer.make_room()
    producer.now += AFTER + 0.1
    assert producer.make_room()  # nothing moves: the last in the queue, if there is one
    assert producer.held() == ids(abandoned[:2])
    producer.take(*producer.put())
    assert producer.make_room()  # what was taken, first of all
    assert producer.held() == ids(abandoned[:2])
    assert producer.make_room()
    assert producer.held() == ids(abandoned[1:2])
    assert producer.counters == {("abandoned", ""): 2, ("dropped", ""): 1}


def test_what_torchserve_passes_on_is_no_room_however_long_nothing_moves(producer: Producer) -> None:
    waiting = producer.put(2, by_caller=False)
    producer.now += AFTER + 1
    assert not producer.make_room()
    assert producer.held() == ids(waiting)


def test_what_is_still_being_written_is_not_dropped_in_anothers_place(producer: Producer) -> None:
    writing = producer.payloads.admit(1, by_caller=True)
    written = producer.put(BOUND - 1)
    producer.now += AFTER + 1
    producer.take(*producer.put())
    producer.put()
    assert producer.held() & ids(written) == ids(written[1:])
    producer.payloads.keep(writing)
    assert producer.payloads.find(writing.id) is writing
    producer._held.add(writing.id)


def test_room_is_waited_for_while_a_reader_is_letting_go(producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    (payload,) = producer.put()
    assert payload.slot is not None
    monkeypatch.setattr(store.time, "monotonic", lambda: 0.0)
    asked = []
    with ExitStack() as reading:
        lease = read_lease(
            producer.settings.ledger_folders, producer.payloads.leases.producer, payload.slot, payload.id
        )
        reading.enter_context(lease).mark_taken()

        def fits(gone: Collection[str]) -> bool:
            asked.append(gone)
            if len(asked) == 2:  # it was looked at once, and found to be read
                reading.close()
            return payload.id in gone

        assert producer.payloads.make_room(fits)
    assert producer.held() == set() and len(asked) > 2


def test_a_budget_spent_on_what_nobody_comes_for_is_there_again_for_others(tmp_path: Path) -> None:
    ones = torch.ones
    clip = EncoderOutput(ones(2, 512, 64), ones(2, 512, 64), ones(2), ones(2), ones(1), (16, 32), (256, 512))
    settings = HandoffSettings(
        folder=tmp_path, shared_folder=tmp_path, budget_bytes=4 << 20, keep_taken=0, abandoned_after_s=0.2
    )

    def put() -> bytes | None:
        try:
            return handoff.put(clip, by_caller=True)
        except OverCapacity as error:
            assert "budget" in str(error)
            return None

    with open_handoff(settings) as handoff:
        with pytest.raises(OverCapacity, match="budget"):
            for _ in range(64):
                handoff.put(clip, by_caller=True)
        end = time.monotonic() + 30
        while (ticket := put()) is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        handoff.take(ticket)
        tickets = [put() for _ in range(4)]
        assert None not in tickets
        for ticket in tickets:
            assert handoff.take(ticket).size == (256, 512)
        assert handoff.counters["abandoned", ""] >= 4


def test_what_expires_while_room_is_looked_for_is_dropped_once(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for payload in producer.put(2):
        producer.take(payload)
    taken = producer.payloads._taken

    def slowly() -> list[Payload]:
        found = taken()
        producer.now += 1000  # all of it expires between this look and the next
        return found

    monkeypatch.setattr(producer.payloads, "_taken", slowly)
    producer.make_room()
    monkeypatch.undo()
    slots = [payload.slot for payload in producer.put(4)]
    assert len(set(slots)) == 4
