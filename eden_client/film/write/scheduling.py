"""Keeps SVT-AV1 from real-time scheduling.

Run as root, SVT-AV1 gives the thread that opens it, and those that it starts, a real-time priority. On a busy machine
nothing else then gets to run, not even threads of the same program whose lock it waits for. So while it is opened, the
thread gives up the right to do so: CAP_SYS_NICE, of capabilities(7), which each thread has for itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522
"""The version of capget and capset since Linux 2.6.26, with two words per set."""
_SYS_NICE = 1 << 23
"""CAP_SYS_NICE, in the first word."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """A context in which neither this thread nor one that it starts can become real-time."""
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
