"""What glibc does with memory that was given back: a worker frees and takes a frame's worth of it all the time."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""mallopt(3)'s names of its options."""
KEPT = 128 << 20
"""Bytes that the main heap may hold free at its end before the kernel gets them; a thread's, of 64 MB, never does."""
LARGEST = 32 << 20
"""Bytes from which a block is mapped anew each time: the most that glibc documents."""


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed, for the next frame; False where the C library has no such option (musl, macOS).

    By default glibc maps a frame's memory anew each time, and every page of it costs a fault: of the 4.6 ms in which
    a JPEG of 854x480 became an array, 3.1 were faults (a virtual machine, two cores; bare metal pays less), most of
    them with the interpreter's lock held. Fixed thresholds stop that, and its habit of giving memory back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, LARGEST) and mallopt(_TRIM_THRESHOLD, KEPT))
