"""Files whose clock starts anew on the way: recordings put one behind the other."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.packet import Packet

LEAP = Fraction(1)
"""Seconds by which a packet has to lie before the end of the one before it to be of another recording."""


class Restarts:
    """Gives packets times that go on where an earlier recording's end.

    Each track of sound goes on at its own end, as the pictures do; text goes with the sound.
    """

    def __init__(self) -> None:
        self._offsets: dict[int, list[Fraction]] = {}  # of each track, the one in use last
        self._ends: dict[int, Fraction] = {}
        self._last = Fraction(0)

    def correct(self, packet: Packet[Any]) -> None:
        """Move the packet by what its recording is late."""
        if packet.dts is None:
            return
        base, offset = packet.time_base, self._last
        if packet.stream.type == "audio":
            offset = self._offset(packet.stream.index, packet.dts * base)
            self._ends[packet.stream.index] = (packet.dts + (packet.duration or 0)) * base + offset
            self._last = offset
        ticks = round(offset / base)
        packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks

    def notes(self) -> list[str]:
        """What a user should know."""
        return [
            f"sound track {index}: its clock starts anew {len(offsets) - 1} times, what follows is put behind the rest"
            for index, offsets in self._offsets.items()
            if len(offsets) > 1
        ]

    def _offset(self, track: int, time: Fraction) -> Fraction:
        offsets = self._offsets.setdefault(track, [Fraction(0)])
        end = self._ends.get(track)
        if end is None or abs(time + offsets[-1] - end) <= LEAP:
            return offsets[-1]
        known = next((each for each in offsets if abs(time + each - end) <= LEAP), None)
        if known is None and time + offsets[-1] > end:  # a gap, and no new clock
            return offsets[-1]
        if known is not None:
            offsets.remove(known)  # a packet that strayed, and the clock from before
        offsets.append(end - time if known is None else known)
        return offsets[-1]
