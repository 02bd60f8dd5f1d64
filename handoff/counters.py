"""Counters of a hand-off's events; the first event of each kind is logged."""

from __future__ import annotations

import logging
import threading
from collections import Counter

_LOG = logging.getLogger(__name__)


class HandoffCounters(Counter[tuple[str, str]]):
    """(event, transport or reason) -> count, or number of bytes.

    put, put_bytes, take, take_bytes: by transport · refused: by reason, which is ticket, capacity, or request (one
    without the key, at this process's port) · fallback: by the transport that could not be used · dropped, expired,
    abandoned: payloads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def transferred(self, event: str, kind: str, nbytes: int) -> None:
        """Count a put or a take."""
        with self._lock:
            self[event, kind] += 1
            self[f"{event}_bytes", kind] += nbytes
            first = self[event, kind] == 1
        if first:
            _LOG.info("the first %s by %s, %d bytes", event, kind, nbytes)

    def fell_back(self, kind: str, why: object) -> None:
        """Count that a transport could not be used, so that another one is."""
        with self._lock:
            self["fallback", kind] += 1
            first = self["fallback", kind] == 1
        if first:
            _LOG.warning("%s cannot be used: %s", kind, why)
