"""What a hand-off did, counted; what is new is logged once."""

from __future__ import annotations

import logging
import threading
from collections import Counter

_LOG = logging.getLogger(__name__)


class HandoffCounters(Counter[tuple[str, str]]):
    """(event, route or reason) -> how often, or how many bytes.

    put, put_bytes, take, take_bytes by route; refused by reason (ticket, capacity, request: a stranger's, at the port
    of this process); fallback by the transport that could not be used; dropped, expired, abandoned.
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
        """Count that a transport could not be used, and another one will be."""
        with self._lock:
            self["fallback", kind] += 1
            first = self["fallback", kind] == 1
        if first:
            _LOG.warning("%s cannot be used: %s", kind, why)
