"""How a service sends answers before its batch is done; the server it runs in implements this."""

from __future__ import annotations

from typing import Protocol

from serving.answer import Answer


class Outbox(Protocol):
    """Sends answers before the batch is done. `index`: the request's place in the batch."""

    def send(self, index: int, body: bytes, content_type: str) -> None:
        """Send a part of a streamed answer; more may follow."""

    def ahead(self, index: int, answer: Answer) -> bool:
        """Send a whole answer now, or leave it to the batch; returns whether it was sent, and need not be kept."""

    def finish(self, index: int, answer: Answer) -> bool:
        """Send a whole answer, or the rest of it, and end its call now, if possible; returns whether it was sent.

        To be called from one thread, while no other thread sends.
        """
