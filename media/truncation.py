"""Was the file cut short? FFmpeg plays what is there and says nothing, so a third of a film would pass for a film."""

from __future__ import annotations

from av.container import InputContainer

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(container: InputContainer, head: bytes, total: int) -> int:
    """How many bytes at least a file of `total` bytes, which begins with `head`, lacks by its own index; 0 if none.

    Matroska and WebM state their length at the start; MP4's and MOV's sample table says where the last sample ends.
    Of other formats nothing is known: 0.
    """
    if head.startswith(_EBML):
        return max(_matroska_end(head) - total, 0)
    if "mp4" in container.format.name:
        ends = (entry.pos + entry.size for stream in container.streams for entry in stream.index_entries)
        return max(max(ends, default=0) - total, 0)
    return 0


def _matroska_end(head: bytes) -> int:
    """Where the segment ends, by its header; 0 where it is of unknown length (a live recording)."""
    length, width = _vint(head, 4)
    start = 4 + width + (length or 0)
    if head[start : start + 4] != _SEGMENT:
        return 0
    length, width = _vint(head, start + 4)
    return 0 if length is None else start + 4 + width + length


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """EBML's variable-length number (RFC 8794, section 4) and its width in bytes; None for "unknown" (all ones)."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return None, 1
    value = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width
