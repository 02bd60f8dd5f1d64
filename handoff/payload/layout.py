"""Which tensors a payload has, and where they lie: a few values travel in the ticket, everything follows from them."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from eden.output import TENSORS, EncoderOutput
from handoff.errors import HandoffError, TicketRejected
from handoff.settings import WIRE_TYPES

WIRE_DTYPES = {wire: getattr(torch, name) for wire, name in WIRE_TYPES.items()}
TOKENS = ("cond_dit", "cond_dec")
"""The tensors whose type the setting `wire` changes; the others are small, or uint8."""
FRAME_BY_FRAME = (*TOKENS, "frames")
"""The tensors that are sent in pieces, frame by frame, after the statistics."""
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "U8": torch.uint8}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 256
"""Bytes to which the first tensor is aligned, so that GPU kernels can load whole vectors."""


@dataclass(frozen=True)
class Entry:
    """One tensor: bytes start to stop - 1 of the payload, counted from the start of its header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    stop: int
    place: int | None
    """`start` in elements; None if it is not a whole number of them, so that the tensor cannot be viewed in place."""


@dataclass(frozen=True)
class Piece:
    """Bytes start to stop - 1 of a payload; after this piece its first `frames` frames are complete."""

    start: int
    stop: int
    frames: int


@dataclass(frozen=True)
class Layout:
    """Which tensors a payload has, in which order. A server sees few layouts, so what follows from one is cached."""

    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    """(name, safetensors dtype, shape), in the order in which they travel."""
    grid: tuple[int, int]
    """(ph, pw), in patches."""
    size: tuple[int, int]
    """(H, W) of the source frames, in pixels."""

    @classmethod
    def of(cls, output: EncoderOutput, wire: str | None) -> Layout:
        """The layout in which `output` travels. Raises `HandoffError` for a type that cannot be sent."""
        tensors = []
        for name, tensor in output.tensors().items():
            dtype = WIRE_DTYPES[wire] if wire is not None and name in TOKENS else tensor.dtype
            if dtype not in _NAMES:
                raise HandoffError(f"{name} is {dtype}; the wire carries {', '.join(map(str, _NAMES))}")
            tensors.append((name, _NAMES[dtype], tuple(tensor.shape)))
        return cls(tuple(tensors), output.grid, output.size)

    @property
    def text(self) -> str:
        """The layout as JSON, for the ticket."""
        return _text(self)

    @property
    def length(self) -> int:
        """K, the number of frames."""
        return self.tensors[0][2][0]

    @property
    def header(self) -> bytes:
        """The safetensors header, its length before it, spaces behind it, so that the first tensor is aligned."""
        return _header(self.tensors)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Each tensor with its place in the payload."""
        return _entries(self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of the payload, including the header."""
        return self.entries[-1].stop

    def pieces(self, largest: int) -> tuple[Piece, ...]:
        """The whole payload in the order in which it is sent: header, statistics, then frame by frame.

        largest: most bytes per piece of a frame's tensor.
        """
        return _pieces(self.tensors, largest)


@functools.lru_cache(64)
def parse_layout(text: str) -> Layout:
    """Parse a layout's `text`. Raises `TicketRejected` for anything else."""
    try:
        data = json.loads(text)
        tensors = tuple((str(name), str(dtype), tuple(map(int, shape))) for name, dtype, shape in data["tensors"])
        (rows, columns), (height, width) = data["grid"], data["size"]
        layout = Layout(tensors, (int(rows), int(columns)), (int(height), int(width)))
    except (KeyError, TypeError, ValueError) as error:
        raise TicketRejected(f"the ticket's layout cannot be read: {error!r}") from error
    names = [name for name, _, _ in tensors]
    wanted = [name for name in TENSORS if name in names or name != "frames"]
    if names != wanted or any(dtype not in _DTYPES or min((0, *shape)) < 0 for _, dtype, shape in tensors):
        raise TicketRejected(f"the ticket's layout is not one of an encoder's output: {tensors}")
    return layout


Tensors = tuple[tuple[str, str, tuple[int, ...]], ...]


@functools.lru_cache(64)
def _text(layout: Layout) -> str:
    return json.dumps({"tensors": layout.tensors, "grid": layout.grid, "size": layout.size}, separators=(",", ":"))


@functools.lru_cache(64)
def _header(tensors: Tensors) -> bytes:
    described: dict[str, Any] = {}
    place = 0
    for name, dtype, shape in tensors:
        stop = place + math.prod(shape) * _DTYPES[dtype].itemsize
        described[name] = {"dtype": dtype, "shape": shape, "data_offsets": (place, stop)}
        place = stop
    text = json.dumps(described, separators=(",", ":")).encode()
    text = text.ljust(math.ceil((8 + len(text)) / _ALIGNMENT) * _ALIGNMENT - 8)
    return len(text).to_bytes(8, "little") + text


@functools.lru_cache(64)
def _entries(tensors: Tensors) -> tuple[Entry, ...]:
    entries = []
    place = len(_header(tensors))
    for name, dtype, shape in tensors:
        stop = place + math.prod(shape) * _DTYPES[dtype].itemsize
        strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        element, rest = divmod(place, _DTYPES[dtype].itemsize)
        entries.append(Entry(name, _DTYPES[dtype], shape, strides, place, stop, None if rest else element))
        place = stop
    return tuple(entries)


@functools.lru_cache(64)
def _pieces(tensors: Tensors, largest: int) -> tuple[Piece, ...]:
    entries, length = _entries(tensors), tensors[0][2][0]
    by_frame = [entry for entry in entries if entry.name in FRAME_BY_FRAME]
    pieces = [Piece(0, len(_header(tensors)), 0)]
    pieces += [Piece(entry.start, entry.stop, 0) for entry in entries if entry not in by_frame]
    for frame in range(length):
        for entry in by_frame:
            row = (entry.stop - entry.start) // length
            start = entry.start + frame * row
            stops = [*range(start + largest, start + row, largest), start + row]
            pieces += [Piece(a, b, frame) for a, b in zip([start, *stops], stops, strict=False) if a < b]
        pieces[-1] = replace(pieces[-1], frames=frame + 1)
    return tuple(pieces)
