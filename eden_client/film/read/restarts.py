"""Files whose clock starts anew, or leaps ahead, on the way: recordings put one behind the other, or with a hole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

LEAP = Fraction(1, 2)
"""Seconds by which something has to lie before what came before it to be of another recording."""

HOLE = Fraction(10)
"""Seconds without sound and pictures after which the clock has leapt, in a container where clocks do."""
_AHEAD = 64
"""Packets of sound and pictures that show whether all tracks have leapt, or one time stamp strayed."""


class Restarts:
    """The clock of one track, on which each recording goes on where the one before it ended."""

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]  # of the recordings, the one at hand last

    @property
    def count(self) -> int:
        """How often the clock started anew."""
        return len(self._offsets) - 1

    @property
    def offset(self) -> Fraction:
        """What the recording at hand is late, in seconds."""
        return self._offsets[-1]

    def time(self, stated: Fraction, last: Fraction | None, end: Fraction) -> Fraction:
        """When something is, in seconds, for which the file states a time.

        last, end   when what came before it begins and ends; None if nothing did
        """
        if last is None or self._fits(self.offset, stated, last, end):
            return stated + self.offset
        known = next((each for each in self._offsets if self._fits(each, stated, last, end)), None)
        if known is not None:  # one packet strayed: this is the clock from before
            self._offsets.remove(known)
            self._offsets.append(known)
        elif stated + self.offset < last:
            self._offsets.append(end - stated)
        return stated + self.offset

    @staticmethod
    def _fits(offset: Fraction, stated: Fraction, last: Fraction, end: Fraction) -> bool:
        return last - LEAP <= stated + offset <= end + LEAP


class Leaps:
    """Closes the holes of a container's clock in which there is nothing of any track, for all tracks alike.

    It has to be shown the packets of all of `streams_with_clock`, in the order of the file: so each reader of the same
    file closes the same holes by the same time.
    """

    def __init__(self) -> None:
        self.count = 0
        """holes closed"""
        self.closed = Fraction(0)
        """their length, in seconds"""
        self._ends: dict[int, Fraction] = {}
        self._ahead: deque[Packet[Any]] = deque()

    def without(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The packets, those behind holes moved up to those before."""
        source = iter(packets)
        while (packet := self._ahead.popleft() if self._ahead else next(source, None)) is not None:
            hole = max(self._ends.values()) + HOLE if self._ends else None
            time = self._time(packet)
            if hole is None or time is None or time <= hole:
                yield self._moved(packet)
                continue
            self._ahead.appendleft(packet)
            self._look_ahead(source)
            if self._all_leap(hole):
                yield from self._close(hole)
            else:  # a time stamp that strayed
                yield self._moved(self._ahead.popleft(), strays=True)

    def _look_ahead(self, source: Iterator[Packet[Any]]) -> None:
        """Read so far that enough packets of sound and pictures are there to judge by."""
        missing = _AHEAD - sum(self._time(packet) is not None for packet in self._ahead)
        while missing > 0 and (packet := next(source, None)) is not None:
            self._ahead.append(packet)
            missing -= self._time(packet) is not None

    def _all_leap(self, hole: Fraction) -> bool:
        """Whether the packets ahead are behind the hole: the first of them may come before the last from before it."""
        times = [time for packet in self._ahead if (time := self._time(packet)) is not None]
        return len(times) > 1 and min(times[len(times) // 2 :]) > hole

    def _close(self, hole: Fraction) -> Iterator[Packet[Any]]:
        """Those of the packets ahead that lie before the hole; the others are moved such that no track runs back."""
        ahead, self._ahead = self._ahead, deque()
        for packet in ahead:
            stamp = self._stamp(packet)
            if stamp is not None and stamp <= hole:
                yield self._moved(packet)
            else:
                self._ahead.append(packet)
        first = dict[int, Fraction]()
        for packet in self._ahead:
            if (time := self._time(packet)) is not None:
                first.setdefault(packet.stream.index, time)
        last = max(self._ends.values())
        length = min(time - self._ends.get(index, last) for index, time in first.items())
        if length <= 0:  # one track has leapt by itself
            yield self._moved(self._ahead.popleft())
            return
        self.count += 1
        self.closed += length

    def _stamp(self, packet: Packet[Any]) -> Fraction | None:
        """When a packet is decoded, with the holes so far closed."""
        stamp = packet.pts if packet.dts is None else packet.dts
        return None if stamp is None else stamp * packet.time_base - self.closed

    def _time(self, packet: Packet[Any]) -> Fraction | None:
        """The same of sound and pictures, by which holes are told; lines of text may lie anywhere."""
        return self._stamp(packet) if packet.stream.type in ("audio", "video") else None

    def _moved(self, packet: Packet[Any], strays: bool = False) -> Packet[Any]:
        """The packet at its time without the holes so far."""
        time = self._time(packet)
        if time is not None and not strays:
            self._ends[packet.stream.index] = time + (packet.duration or 0) * packet.time_base
        if self.closed:
            ticks = round(self.closed / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        return packet


def streams_with_clock(container: InputContainer) -> list[Stream]:
    """The streams that `Leaps` has to see; none where the container's clock does not leap (all but broadcasts')."""
    if Flags.ts_discont not in Flags(container.format.flags):
        return []
    return [stream for stream in container.streams if stream.type in ("audio", "video")]
