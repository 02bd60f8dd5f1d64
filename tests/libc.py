"""System calls that Python 3.11 has no function for."""

from __future__ import annotations

import ctypes
import os
from typing import Any

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18


def call(name: str, *arguments: Any) -> None:
    """Raises OSError."""
    passed = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*passed):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def keep_mounts_to_oneself() -> None:
    """From now on what this process mounts is seen by itself and its children alone."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
