"""The pause before an answer: TorchServe 0.12.0 may lose an answer that comes within about 1 ms."""

from __future__ import annotations

import os
import time
from pathlib import Path

LEAST_SECONDS = 0.004
"""The shortest time from a batch to its answer. More than 1 ms, since TorchServe's threads may wait for a processor."""
LOAD = Path("/proc/loadavg")


def pause_until(started: float) -> None:
    """Wait until LEAST_SECONDS after `started` (time.monotonic()); on a busy machine up to ten times as long."""
    time.sleep(max(0.0, started + LEAST_SECONDS * min(max(1.0, busyness()), 10.0) - time.monotonic()))


def busyness() -> float:
    """Threads that run or wait for a processor, per processor: of this moment, or the mean of a minute if that is more.

    The mean alone is too late for what has just begun. Both are the whole machine's, in a container too.
    """
    mean, *_, now, _ = LOAD.read_text(encoding="ascii").split()
    return max(float(mean), int(now.split("/")[0])) / (os.cpu_count() or 1)
