"""Closes connections on which no complete request head arrives in time."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def patient_protocol(head_s: float) -> type[H11Protocol]:
    """A protocol class for HTTP/1.1 that waits `head_s` seconds for the complete head of a request."""

    class PatientProtocol(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._late = self.loop.call_later(head_s, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._has_come()
            elif self._late is None:  # the head of another request has begun
                self._late = self.loop.call_later(head_s, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._has_come()
            super().connection_lost(exc)

        def _has_come(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return PatientProtocol
