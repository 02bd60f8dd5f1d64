"""The producer's role: admit a payload, write it into a buffer, lease it, sign a ticket for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from eden.output import EncoderOutput
from handoff.errors import (
    HandoffError,
    MachineExhausted,
    OverCapacity,
    PoolExhausted,
    TransportUnavailable,
    out_of_descriptors,
)
from handoff.payload.layout import Layout
from handoff.payload.store import Payload, PayloadStore
from handoff.ticket import Ticket, sign
from handoff.transports.base import PutResult, Transport, TransportContext

Options = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""JSON values for a ticket; or a function that returns them, called once the payload is written."""


class Producer:
    """Puts payloads: by the best transport, and by others too until that one is proven to work. Thread-safe."""

    def __init__(self, context: TransportContext, transports: Mapping[str, Transport]) -> None:
        self._context = context
        self._transports = transports
        self._store: PayloadStore | None = None
        self._lock = threading.Lock()

    @property
    def store(self) -> PayloadStore | None:
        """The payloads held; None before the first put."""
        return self._store

    def put(self, output: EncoderOutput, options: Options, by_caller: bool) -> bytes:
        """See `Handoff.put`."""
        counters = self._context.counters
        layout = Layout.of(output, self._context.settings.wire)
        try:
            with out_of_descriptors():
                signed, kind = self._put(self._started(), output, layout, options, by_caller)
        except OverCapacity:
            counters["refused", "capacity"] += 1
            raise
        counters.transferred("put", kind, layout.nbytes)
        return signed

    def close(self) -> None:
        """Drop all payloads."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _started(self) -> PayloadStore:
        with self._lock:
            if self._store is None:
                self._store = PayloadStore(self._context.settings, self._context.counters, self._drop)
            return self._store

    def _put(
        self, store: PayloadStore, output: EncoderOutput, layout: Layout, options: Options, by_caller: bool
    ) -> tuple[bytes, str]:
        payload = store.admit(layout.nbytes, by_caller)
        try:
            results = self._write(store, payload, output, layout)
            payload.held = any(self._transports[kind].holds for kind in results)
            ticket = Ticket(
                id=payload.id,
                producer=store.leases.producer,
                slot=store.keep(payload),
                put=payload.deadline - self._context.settings.time_to_live_s,
                deadline=payload.deadline,
                layout=layout,
                routes=tuple({"kind": kind, **result.route} for kind, result in results.items()),
                options=options() if callable(options) else options,
                payload=memoryview(b"".join(result.inline for result in results.values())),
            )
            return sign(ticket, self._context.key), next(iter(results))
        except BaseException:
            store.withdraw(payload)
            raise

    def _write(
        self, store: PayloadStore, payload: Payload, output: EncoderOutput, layout: Layout
    ) -> dict[str, PutResult]:
        """Write by the best transport; and by others that need no copy, or while the best is not proven to work."""
        results: dict[str, PutResult] = {}
        errors: dict[str, TransportUnavailable] = {}
        proven = False
        for kind, transport in self._transports.items():
            if proven and not (transport.sends_any_body and payload.body is not None):
                continue
            try:
                results[kind] = self._write_by(transport, store, payload, output, layout)
                proven = proven or transport.is_proven(store)
            except TransportUnavailable as error:
                errors[kind] = error
        if not results:
            passes = any(isinstance(why.__cause__, OverCapacity) for why in errors.values())
            message = "; ".join(f"{kind}: {why}" for kind, why in errors.items())
            raise OverCapacity(message) if passes else HandoffError(message)
        for kind, why in errors.items():
            self._context.counters.fell_back(kind, why)
        return results

    def _write_by(
        self, transport: Transport, store: PayloadStore, payload: Payload, output: EncoderOutput, layout: Layout
    ) -> PutResult:
        while True:
            try:
                return transport.put(payload, output, layout, store)
            except PoolExhausted as exhausted:
                if store.make_room(lambda dropped: transport.fits(layout.nbytes, dropped), payload.by_caller):
                    continue
                refusal = OverCapacity(str(exhausted))
                if isinstance(exhausted, MachineExhausted):
                    raise TransportUnavailable(str(exhausted)) from refusal
                raise refusal from exhausted

    def _drop(self, payload: Payload) -> None:
        for transport in self._transports.values():
            transport.drop(payload)
