"""The way of answers back to their callers, as whoever serves the requests provides it."""

from __future__ import annotations

from typing import Protocol

from serving.answer import Answer


class Outbox(Protocol):
    """Takes answers before the batch is done."""

    def send(self, index: int, body: bytes, content_type: str) -> None:
        """A part of a streamed answer to the request with this index; more may follow."""

    def ahead(self, index: int, answer: Answer) -> bool:
        """A whole answer, which may go now or with the batch; whether it has gone, and need not be kept."""

    def finish(self, index: int, answer: Answer) -> bool:
        """A whole answer, or what is left of it, that ends its call now, if it may: others of the batch take longer.

        Whether it has gone. From one thread, while no other one sends.
        """
