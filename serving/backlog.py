"""How many requests wait for this node in TorchServe, and which of them are too many.

A handler sees only its batch. The other requests lie in Java's memory with their bodies, and when TorchServe's own
queue is full, it leaks a thread per refused request. So the handler asks how many wait, and refuses the surplus.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two queries: on a host with GPUs TorchServe runs nvidia-smi for each."""


class Backlog:
    """Decides what to refuse so that at most `most` requests wait. `waiting()`: (requests that wait, workers)."""

    def __init__(self, waiting: Callable[[], tuple[int, int]], most: int) -> None:
        self.most = most
        self._waiting = waiting
        self._surplus = 0
        self._full_batch = threading.Event()
        threading.Thread(target=self._watch, name="backlog", daemon=True).start()

    def batch(self, full: bool) -> None:
        """Begin a batch; to be called before `is_surplus`. If the batch is not `full`, no request waits behind it."""
        if full:
            self._full_batch.set()
        else:
            self._surplus = 0

    def is_surplus(self) -> bool:
        """Whether the next request is one too many. To be called once per request, from the worker's one thread."""
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
                logger.warning("cannot find out how many requests wait: %s", error)
            time.sleep(EVERY)
