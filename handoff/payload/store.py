"""What one producer holds: admission, deadlines, and whose room is taken first."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from handoff.errors import OverCapacity
from handoff.payload.layout import Layout
from handoff.payload.leases import PayloadLeases
from handoff.settings import HandoffSettings

_LETTING_GO_S = 0.05
"""How long a payload that has just been taken may still be held by whoever sent or read it."""


@dataclass
class Payload:
    """One payload, from `put` until it is dropped."""

    id: str
    nbytes: int
    deadline: float
    held: bool = True
    """Whether it is lost when it is dropped: False where its ticket has all of it."""
    by_caller: bool = False
    """Whether its ticket went to a caller, who may never come back with it."""
    slot: int | None = None
    """Its slot among the leases, once it is whole."""
    body: torch.Tensor | None = None
    """Its bytes (uint8, [>= nbytes]) where a transport holds them; another one may send them from there."""
    layout: Layout | None = None
    """What the body holds."""


class PayloadStore:
    """The payloads of one producer, oldest first. Thread-safe.

    A payload whose ticket went to a caller counts as abandoned once one that was put `abandoned_after_s` later has been
    taken: as a queue keeps its order, nobody is coming for it. Where the bounds are reached, abandoned payloads give
    way, the oldest first. Where nothing was put or taken for so long, one more is let in: a slow consumer takes the
    older ones first, an idle one takes it at once, and so tells that the others were abandoned. What a caller's ticket
    holds itself gives way at once: nothing is lost, and a consumer on another machine cannot say that it took it.

    Work that is sure to be taken does not wait for that: where callers hold more than half of a bound, their oldest
    tickets give way to it at once. Whoever takes tickets and never comes back fills the callers' half, and no more.
    """

    def __init__(
        self, settings: HandoffSettings, counters: Counter[tuple[str, str]], drop: Callable[[Payload], None]
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._drop = drop
        self._lock = threading.RLock()
        self._payloads: dict[str, Payload] = {}
        self._reached = 0.0
        """Deadline of the newest payload that was ever taken."""
        self._heard = 0.0
        """When that was noticed."""
        self.leases = PayloadLeases(settings.ledger_folders, settings.max_in_flight + settings.keep_taken + 1)

    def admit(self, nbytes: int, by_caller: bool = False) -> Payload:
        """A place for a payload that is about to be written. Raises `OverCapacity` where there is none."""
        with self._lock:
            if nbytes > self._settings.max_payload_bytes:
                raise OverCapacity(
                    f"a payload of {nbytes} bytes; at most {self._settings.max_payload_bytes} are allowed "
                    "(max_payload_bytes): a shorter clip, or wire: bf16, takes less"
                )
            self._expire()
            taken = self._taken()
            surplus = len(self._payloads) - len(taken) - self._settings.max_in_flight + 1
            waiting = self._waiting()
            for payload in (*self._abandoned(waiting), *self._over_half(waiting, by_caller)):
                if surplus > 0:
                    surplus -= self._retire(payload, "abandoned")
            if surplus > 0 and not self._stands_still():
                raise OverCapacity(
                    f"{self._settings.max_in_flight} payloads are in flight, the most allowed", "in_flight"
                )
            for payload in taken[: max(len(taken) - self._settings.keep_taken, 0)]:
                self._retire(payload, "dropped")
            deadline = time.time() + self._settings.time_to_live_s
            payload = Payload(secrets.token_hex(16), nbytes, deadline, by_caller=by_caller)
            self._payloads[payload.id] = payload
            return payload

    def keep(self, payload: Payload) -> int:
        """The payload is written: from now on it can be taken. Its slot among the leases."""
        with self._lock:
            payload.slot = self.leases.enter(payload.id)
            return payload.slot

    def withdraw(self, payload: Payload) -> None:
        """The payload could not be written."""
        with self._lock:
            del self._payloads[payload.id]
            if payload.slot is not None:
                self.leases.retire(payload.slot)
            self._drop(payload)

    def make_room(self, fits: Callable[[Collection[str]], bool], by_caller: bool = True) -> bool:
        """Drop payloads that were taken, or else abandoned, and that nobody is reading: no more than make room.

        Of each kind the oldest go first. But where nothing was put or taken for a while, which are abandoned is not
        known: then the newest that may be, since it has the longest to wait if it is not.
        `fits(ids)` tells whether there is room once those are dropped. False, with nothing dropped, where all of them
        would not be enough.
        """
        end = time.monotonic() + _LETTING_GO_S
        while True:
            with self._lock:
                taken = self._taken()
                spare = [*taken, *self._giving_way(by_caller)]
                if not spare or not fits({payload.id for payload in spare}):
                    return False
                idle = [each for each in spare if each.slot is not None and not self.leases.being_read(each.slot)]
                dropped = {payload.id for payload in taken}
                chosen = _enough(idle, fits)
                if [each for each in chosen if self._retire(each, "dropped" if each.id in dropped else "abandoned")]:
                    return True
            if time.monotonic() > end:
                return False
            time.sleep(0.001)

    def find(self, payload: str) -> Payload | None:
        """The payload of that id, if it is held and can be taken."""
        found = self._payloads.get(payload)
        return found if found is not None and found.slot is not None else None

    def in_flight(self) -> int:
        """Payloads neither taken nor expired. Expired ones are dropped on the way."""
        with self._lock:
            return len(self._waiting())

    def in_flight_bytes(self) -> int:
        """Bytes of those. What was taken and is kept for a retry is not among them: it gives way."""
        with self._lock:
            return sum(payload.nbytes for payload in self._waiting())

    def room(self, by_caller: bool = True) -> int:
        """How many more payloads would be admitted now, by their number."""
        with self._lock:
            waiting = self._waiting()
            spare = {each.id for each in (*self._abandoned(waiting), *self._over_half(waiting, by_caller))}
            free = self._settings.max_in_flight - len(waiting) + len(spare)
            return free if free > 0 else int(self._stands_still())

    def queue(self) -> list[float]:
        """When each of those was put (time.time()) that may be waiting its turn, the oldest first.

        Not those that are older than one that was taken: nobody is coming for them, as a queue keeps its order. And
        none before one was taken at all: by some ways no producer ever hears of it. Nor, where nothing was taken for
        `abandoned_after_s`, what callers hold: a few who bring no tickets would keep everybody else out.
        """
        with self._lock:
            waiting = [payload for payload in self._waiting() if payload.deadline > self._reached > 0]
            idle = time.time() - self._heard > self._settings.abandoned_after_s
            return [self._put_at(payload) for payload in waiting if not (idle and payload.by_caller)]

    def close(self) -> None:
        """Drop everything."""
        with self._lock:
            for payload in self._payloads.values():
                self._drop(payload)
            self._payloads.clear()
            self.leases.close()

    def _waiting(self) -> list[Payload]:
        gone = {payload.id for payload in (*self._expire(), *self._taken())}
        return [payload for payload in self._payloads.values() if payload.id not in gone]

    def _taken(self) -> list[Payload]:
        slots = self.leases.taken()
        taken = [payload for payload in self._payloads.values() if payload.slot in slots]
        reached = max((payload.deadline for payload in taken), default=0.0)
        if reached > self._reached:
            self._reached, self._heard = reached, time.time()
        return taken

    def _abandoned(self, waiting: list[Payload]) -> list[Payload]:
        latest = self._reached - self._settings.abandoned_after_s
        return [each for each in waiting if each.by_caller and (each.deadline < latest or not each.held)]

    def _over_half(self, waiting: list[Payload], by_caller: bool) -> list[Payload]:
        """The oldest of what callers hold beyond half of the bounds; none where a caller asks."""
        held = [payload for payload in waiting if payload.by_caller and payload.slot is not None]
        if by_caller:
            return []
        over_number = len(held) - self._settings.max_in_flight // 2
        over_bytes = sum(payload.nbytes for payload in held) - self._settings.budget_bytes // 2
        over: list[Payload] = []
        for payload in held:
            if over_number <= 0 and over_bytes <= 0:
                break
            over.append(payload)
            over_number -= 1
            over_bytes -= payload.nbytes
        return over

    def _giving_way(self, by_caller: bool) -> list[Payload]:
        """What may be dropped to make room, the first first."""
        waiting = self._waiting()
        abandoned = self._abandoned(waiting)
        known = {payload.id for payload in abandoned}
        abandoned += [payload for payload in self._over_half(waiting, by_caller) if payload.id not in known]
        if abandoned or not self._stands_still():
            return abandoned
        return [payload for payload in reversed(waiting) if payload.by_caller and payload.slot is not None]

    def _stands_still(self) -> bool:
        """Whether nothing was put and nothing taken for a while."""
        put = [self._put_at(payload) for payload in self._payloads.values() if payload.slot is not None]
        return time.time() - max([self._heard, *put]) > self._settings.abandoned_after_s

    def _put_at(self, payload: Payload) -> float:
        return payload.deadline - self._settings.time_to_live_s

    def _expire(self) -> list[Payload]:
        """Drop what has expired; what is left of that, since somebody is reading it."""
        now = time.time()
        expired = [payload for payload in self._payloads.values() if payload.deadline <= now]
        taken = self._taken() if expired else []
        return [
            payload for payload in expired if not self._retire(payload, "dropped" if payload in taken else "expired")
        ]

    def _retire(self, payload: Payload, event: str) -> bool:
        if payload.slot is None:  # still being written
            return False
        if payload.id not in self._payloads:  # expired since it was found
            return False
        if not self.leases.retire(payload.slot):
            return False
        del self._payloads[payload.id]
        self._counters[event, ""] += 1
        self._drop(payload)
        return True


def _enough(in_turn: list[Payload], fits: Callable[[Collection[str]], bool]) -> list[Payload]:
    """The payloads to drop so that there is room; none where all together are not enough."""
    for count in range(1, len(in_turn) + 1):
        chosen = in_turn[:count]
        if fits({payload.id for payload in chosen}):
            break
    else:
        return []
    for payload in reversed(chosen[:-1]):  # the last one is needed: without it there was no room
        fewer = [other for other in chosen if other is not payload]
        if fits({other.id for other in fewer}):
            chosen = fewer
    return chosen
