"""The pause before an answer: TorchServe 0.12.0 may lose an answer that comes within about 1 ms."""

from __future__ import annotations

import os
import time

LEAST_SECONDS = 0.004
"""The shortest time from a batch to its answer. More than 1 ms, since TorchServe's threads may wait for a processor."""


def pause_until(started: float) -> None:
    """Wait until LEAST_SECONDS after `started` (time.monotonic()); on a busy machine up to ten times as long."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)  # both are the whole machine's, in a container too
    time.sleep(max(0.0, started + LEAST_SECONDS * min(max(1.0, load), 10.0) - time.monotonic()))
