"""The payloads that one producer holds: admission, deadlines, and which are dropped first when there is no room."""

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
"""Seconds for which a payload that has just been taken may still be locked by its reader."""


@dataclass
class Payload:
    """One payload, from `put` until it is dropped."""

    id: str
    nbytes: int
    deadline: float
    held: bool = True
    """Whether dropping it loses the data; False if its ticket contains them."""
    by_caller: bool = False
    """Whether its ticket went to a caller, who may never bring it back."""
    slot: int | None = None
    """Its slot in the ledger, once it has been written."""
    body: torch.Tensor | None = None
    """Its bytes (uint8, [>= nbytes]) in a transport's memory; other transports may send them from there."""
    layout: Layout | None = None
    """The layout of the body."""


class PayloadStore:
    """The payloads of one producer, oldest first. Thread-safe.

    When a limit is reached, payloads are dropped, the oldest first, of these:

    - Abandoned ones. A payload whose ticket went to a caller counts as abandoned once another one that was put
      `abandoned_after_s` later has been taken: queues keep their order, so nobody will come for it. If nothing was put
      or taken for `abandoned_after_s`, one more payload is admitted: a slow consumer takes the older ones first, an
      idle one takes the new one at once, which shows that the older ones were abandoned.
    - Those that a caller's ticket contains: dropping them loses nothing, and a consumer on another machine cannot
      report that it took them.
    - For a payload that goes to no caller, and so is sure to be taken: those of callers beyond half of the limit. So
      callers who never bring their tickets back use up half of a limit and no more.
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
        """When that payload's being taken was noticed, in seconds since the epoch."""
        self.leases = PayloadLeases(settings.ledger_folders, settings.max_in_flight + settings.keep_taken + 1)

    def admit(self, nbytes: int, by_caller: bool = False) -> Payload:
        """Admit a payload that is about to be written. Raises `OverCapacity` if a limit is reached."""
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
            for payload in (*self._abandoned(waiting), *self._beyond_share(waiting, by_caller)):
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
        """The payload has been written, and can be taken from now on; returns its slot in the ledger."""
        with self._lock:
            payload.slot = self.leases.enter(payload.id)
            return payload.slot

    def withdraw(self, payload: Payload) -> None:
        """Forget a payload that could not be written."""
        with self._lock:
            del self._payloads[payload.id]
            if payload.slot is not None:
                self.leases.retire(payload.slot)
            self._drop(payload)

    def make_room(self, fits: Callable[[Collection[str]], bool], by_caller: bool = True) -> bool:
        """Drop payloads that nobody is reading, taken ones first, then abandoned ones, as few as make room.

        The oldest are dropped first. But if nothing was put or taken for a while, it is not known which are abandoned:
        then the newest of callers' payloads is dropped, whose caller would have to wait longest.
        fits: tells whether there is room once the payloads with these ids are dropped. Returns False, with nothing
        dropped, if dropping all of them would not make room.
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
                chosen = _fewest(idle, fits)
                if [each for each in chosen if self._retire(each, "dropped" if each.id in dropped else "abandoned")]:
                    return True
            if time.monotonic() > end:
                return False
            time.sleep(0.001)

    def find(self, payload: str) -> Payload | None:
        """The payload with this id, if it is held and can be taken."""
        found = self._payloads.get(payload)
        return found if found is not None and found.slot is not None else None

    def in_flight(self) -> int:
        """Payloads neither taken nor expired. Expired ones are dropped on the way."""
        with self._lock:
            return len(self._waiting())

    def in_flight_bytes(self) -> int:
        """Bytes of payloads neither taken nor expired. Taken ones that are kept for a retry do not count."""
        with self._lock:
            return sum(payload.nbytes for payload in self._waiting())

    def room(self, by_caller: bool = True) -> int:
        """How many more payloads `max_in_flight` allows now."""
        with self._lock:
            waiting = self._waiting()
            spare = {each.id for each in (*self._abandoned(waiting), *self._beyond_share(waiting, by_caller))}
            free = self._settings.max_in_flight - len(waiting) + len(spare)
            return free if free > 0 else int(self._stands_still())

    def queue(self) -> list[float]:
        """When each payload was put (time.time()) that may be waiting for the decoder, the oldest first.

        Left out are payloads older than one that was taken, since queues keep their order; all payloads until the first
        is taken, since with some transports a producer never learns of that; and, if nothing was taken for
        `abandoned_after_s`, those of callers: a few who bring no tickets back would otherwise keep all others out.
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

    def _beyond_share(self, waiting: list[Payload], by_caller: bool) -> list[Payload]:
        """The oldest payloads of callers beyond their share, half of the limits; none for a new one of a caller's."""
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
        """Payloads that may be dropped to make room, in the order in which they are dropped."""
        waiting = self._waiting()
        abandoned = self._abandoned(waiting)
        known = {payload.id for payload in abandoned}
        abandoned += [payload for payload in self._beyond_share(waiting, by_caller) if payload.id not in known]
        if abandoned or not self._stands_still():
            return abandoned
        return [payload for payload in reversed(waiting) if payload.by_caller and payload.slot is not None]

    def _stands_still(self) -> bool:
        """Whether nothing was put or taken for `abandoned_after_s`."""
        put = [self._put_at(payload) for payload in self._payloads.values() if payload.slot is not None]
        return time.time() - max([self._heard, *put]) > self._settings.abandoned_after_s

    def _put_at(self, payload: Payload) -> float:
        return payload.deadline - self._settings.time_to_live_s

    def _expire(self) -> list[Payload]:
        """Drop expired payloads; returns those that cannot be dropped yet, since they are being read or written."""
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


def _fewest(candidates: list[Payload], fits: Callable[[Collection[str]], bool]) -> list[Payload]:
    """The fewest of `candidates` (in the order to be dropped) that make room; none if all together do not."""
    for count in range(1, len(candidates) + 1):
        chosen = candidates[:count]
        if fits({payload.id for payload in chosen}):
            break
    else:
        return []
    for payload in reversed(chosen[:-1]):  # the last one is needed: without it there was no room
        fewer = [other for other in chosen if other is not payload]
        if fits({other.id for other in fewer}):
            chosen = fewer
    return chosen
