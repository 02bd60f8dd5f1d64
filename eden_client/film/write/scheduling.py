"""SVT-AV1 makes the thread that opens it real-time, above all else, and so those that it starts: where it may, as root.

Then nothing else gets a turn on a busy machine, not even threads of the same program whose lock it waits for. So for
that moment the thread lacks the right to: CAP_SYS_NICE, of capabilities(7), which each thread has for itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522
"""Of the two calls: the one since Linux 2.6.26, with two words per set."""
_SYS_NICE = 1 << 23
"""In the first word."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Neither this thread nor one that it starts in the block becomes real-time."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    header, words = _Header(_VERSION, 0), (_Word * 2)()
    if libc.capget(ctypes.byref(header), words) or not words[0].effective & _SYS_NICE:
        yield
        return
    words[0].effective &= ~_SYS_NICE
    libc.capset(ctypes.byref(header), words)
    try:
        yield
    finally:
        words[0].effective |= _SYS_NICE
        libc.capset(ctypes.byref(header), words)
