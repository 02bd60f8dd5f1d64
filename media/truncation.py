"""Finds truncated videos. FFmpeg reads what is there without an error, as if a third of a film were the film."""

from __future__ import annotations

from av.container import InputContainer

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(container: InputContainer, head: bytes, total: int) -> int:
    """The least number of bytes that are missing from a file, by its own index; 0: none.

    head    its first bytes
    total   its length in bytes

    Matroska and WebM state their length at the start; the sample table of MP4 and MOV states where the last sample
    ends. For other formats it returns 0.
    """
    if head.startswith(_EBML):
        return max(_matroska_end(head) - total, 0)
    if "mp4" in container.format.name:
        ends = (entry.pos + entry.size for stream in container.streams for entry in stream.index_entries)
        return max(max(ends, default=0) - total, 0)
    return 0


def _matroska_end(head: bytes) -> int:
    """The offset at which the segment ends, by its header; 0: its length is unknown (a live recording)."""
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
