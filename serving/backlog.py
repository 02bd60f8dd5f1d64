"""How many requests wait for this node in TorchServe, and which of them are too many.

A handler sees no more than its batch. The rest lies in Java's memory, bodies and all, and a full queue of
TorchServe's own would leak a thread for each request that it refuses. So the handler asks how many they are, and
refuses the surplus.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two questions: on a host with GPUs TorchServe runs nvidia-smi for each answer."""


class Backlog:
    """Says what to refuse, so that at most `most` requests wait. `waiting()`: how many do, and for how many workers."""

    def __init__(self, waiting: Callable[[], tuple[int, int]], most: int) -> None:
        self.most = most
        self._waiting = waiting
        self._surplus = 0
        self._full_batch = threading.Event()
        threading.Thread(target=self._watch, name="backlog", daemon=True).start()

    def batch(self, full: bool) -> None:
        """Tell of each batch before its requests: behind one that is not full, nothing waits."""
        if full:
            self._full_batch.set()
        else:
            self._surplus = 0

    def is_surplus(self) -> bool:
        """Whether the request at hand is one too many. The worker's one thread asks this, for each in turn."""
        if self._surplus <= 0:
            return False
        self._surplus -= 1
        return True

    def _watch(self) -> None:
        while self._full_batch.wait():
            self._full_batch.clear()
            try:
                waiting, workers = self._waiting()
                self._surplus = max(0, waiting - self.most) // workers
            except (OSError, LookupError, ValueError) as error:
                logger.warning("how many requests wait is not known: %s", error)
            time.sleep(EVERY)
