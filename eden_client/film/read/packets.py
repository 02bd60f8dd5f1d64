"""A file's packets, past a mistake of PyAV's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream


def packets_of(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Any]]:
    """The packets of these streams in the order of the file; last an empty one for each, which flushes its decoder.

    Where another stream has begun on the way (MPEG-TS and FLV list none at the start), PyAV 18 may take it for one of
    these when it flushes, and finds none of that number: by then all of these have been given. Raises av.FFmpegError.
    """
    try:
        yield from container.demux(list(streams))
    except IndexError:
        return
