"""Files whose clock starts anew or leaps ahead: several recordings one after the other, or a recording with a gap."""

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
"""Seconds: something that lies this far before what came before it belongs to another recording."""

HOLE = Fraction(10)
"""Seconds: a longer gap without sound and pictures is a leap of the clock, in containers whose clock may leap."""
_AHEAD = 64
"""Packets of sound and pictures that are looked at to tell a leap of all tracks from a single wrong time stamp."""


class Restarts:
    """A continuous clock for one track of several recordings: each follows where the one before it ended."""

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]  # one per recording, that of the current one last

    @property
    def count(self) -> int:
        """How often the clock started anew."""
        return len(self._offsets) - 1

    @property
    def offset(self) -> Fraction:
        """Seconds that are added to the time stamps of the current recording."""
        return self._offsets[-1]

    def time(self, stated: Fraction, last: Fraction | None, end: Fraction) -> Fraction:
        """The time on the continuous clock for the file's time `stated`; all in seconds.

        last, end   where the item before begins (None: there was none) and ends, on the continuous clock
        """
        if last is None or self._fits(self.offset, stated, last, end):
            return stated + self.offset
        known = next((each for each in self._offsets if self._fits(each, stated, last, end)), None)
        if known is not None:  # a single wrong time stamp: back to an earlier recording's clock
            self._offsets.remove(known)
            self._offsets.append(known)
        elif stated + self.offset < last:
            self._offsets.append(end - stated)
        return stated + self.offset

    @staticmethod
    def _fits(offset: Fraction, stated: Fraction, last: Fraction, end: Fraction) -> bool:
        return last - LEAP <= stated + offset <= end + LEAP


class Leaps:
    """Closes the gaps in a container's clock in which no track has anything, for all tracks alike.

    Pass it the packets of all `streams_with_clock`, in the order of the file: then every reader of the file closes the
    same gaps by the same time.
    """

    def __init__(self) -> None:
        self.count = 0
        """gaps closed"""
        self.closed = Fraction(0)
        """length of these gaps together, in seconds"""
        self._ends: dict[int, Fraction] = {}
        self._ahead: deque[Packet[Any]] = deque()

    def without(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The packets, with those after a gap moved to follow those before it."""
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
            else:  # a single wrong time stamp
                yield self._moved(self._ahead.popleft(), strays=True)

    def _look_ahead(self, source: Iterator[Packet[Any]]) -> None:
        """Read until `_AHEAD` packets of sound and pictures are waiting, or the file ends."""
        missing = _AHEAD - sum(self._time(packet) is not None for packet in self._ahead)
        while missing > 0 and (packet := next(source, None)) is not None:
            self._ahead.append(packet)
            missing -= self._time(packet) is not None

    def _all_leap(self, hole: Fraction) -> bool:
        """Whether the packets ahead lie after the gap. Among the first of them, some may still be from before it."""
        times = [time for packet in self._ahead if (time := self._time(packet)) is not None]
        return len(times) > 1 and min(times[len(times) // 2 :]) > hole

    def _close(self, hole: Fraction) -> Iterator[Packet[Any]]:
        """Close the gap so that no track runs backwards. Yields the packets ahead that lie before it."""
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
        """When a packet is decoded, in seconds, with the gaps so far closed."""
        stamp = packet.pts if packet.dts is None else packet.dts
        return None if stamp is None else stamp * packet.time_base - self.closed

    def _time(self, packet: Packet[Any]) -> Fraction | None:
        """`_stamp` for sound and pictures, which show the gaps; None for texts, which may lie anywhere."""
        return self._stamp(packet) if packet.stream.type in ("audio", "video") else None

    def _moved(self, packet: Packet[Any], strays: bool = False) -> Packet[Any]:
        """The packet at its time with the gaps so far closed. `strays`: its time stamp is wrong."""
        time = self._time(packet)
        if time is not None and not strays:
            self._ends[packet.stream.index] = time + (packet.duration or 0) * packet.time_base
        if self.closed:
            ticks = round(self.closed / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        return packet


def streams_with_clock(container: InputContainer) -> list[Stream]:
    """The streams that `Leaps` needs; none where the container's clock cannot leap, as in all but broadcast formats."""
    if Flags.ts_discont not in Flags(container.format.flags):
        return []
    return [stream for stream in container.streams if stream.type in ("audio", "video")]
