"""Reads a file's packets, around an error of PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream


def packets_of(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Any]]:
    """The packets of these streams in the order of the file, then an empty one per stream, which flushes its decoder.

    Where another stream begins later (MPEG-TS and FLV list none at the start), PyAV 18 may fail on it at the end of the
    file, when all packets of these streams have been given: that error is ignored. Raises av.FFmpegError.
    """
    try:
        yield from container.demux(list(streams))
    except IndexError:
        return
