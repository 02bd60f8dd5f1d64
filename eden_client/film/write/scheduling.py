"""SVT-AV1, run by root, makes its threads and the caller's real-time, above all else: that is undone here.

Then nothing else gets a turn on a busy machine, not even threads of the same program whose lock it waits for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Threads that have become real-time in the block are made ordinary again."""
    if not hasattr(os, "sched_setscheduler") or not _THREADS.is_dir():
        yield
        return
    before = _real_time()
    try:
        yield
    finally:
        for thread in _real_time() - before:
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time() -> set[int]:
    found = set()
    for thread in _threads():
        with suppress(OSError):  # it has ended
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(thread)
    return found


def _threads() -> set[int]:
    """This process's threads. The kernel may leave out living ones in a listing during which others end, say another
    encoder's; those that ended are missing from the next listing, so that two which agree are whole.
    """
    before: set[int] = set()
    while (found := {int(thread.name) for thread in _THREADS.iterdir()}) != before:
        before = found
    return found
