"""The hand-off: put an `EncoderOutput` in one process, take it in another; between them travels a small signed ticket.

with open_handoff(HandoffSettings(kind="shared_memory"), device="cuda:1") as handoff:
    ticket = handoff.put(output, options={"seed": 3})
    output = handoff.take(ticket)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from handoff.errors import (
    HandoffError,
    HandoffTimeout,
    OverCapacity,
    PayloadGone,
    PeerLost,
    TicketRejected,
    Unreachable,
    out_of_descriptors,
)
from handoff.settings import HandoffSettings

if TYPE_CHECKING:
    import torch

    from handoff.handoff import Handoff
    from handoff.ticket import MAGIC, Ticket
    from handoff.transports.base import Transport, TransportContext

TRANSPORTS = {
    "inline": "handoff.transports.inline:Inline",
    "shared_memory": "handoff.transports.shared_memory:SharedMemory",
    "cuda_ipc": "handoff.transports.cuda_ipc:CudaIpc",
    "nccl": "handoff.transports.nccl.transport:Nccl",
    "http": "handoff.transports.network.http:transport",
    "websocket": "handoff.transports.network.websocket:transport",
    "grpc": "handoff.transports.network.grpc:transport",
    "zeromq": "handoff.transports.network.zeromq:transport",
    "in_process": "handoff.transports.in_process:InProcess",
    "torch_save": "handoff.transports.torch_save:TorchSave",
}
"""Per kind "module:name" of what makes its transport. It is imported, with the libraries it needs, at first use."""

KINDS: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in TRANSPORTS} | {
    "cuda_ipc": ("cuda_ipc", "shared_memory"),
    "auto": ("cuda_ipc", "shared_memory", "http"),
}
"""Values of the setting `kind`, and the transports that each uses, best first."""

NETWORK = ("nccl", "http", "websocket", "grpc", "zeromq")
"""Kinds whose consumers dial an address that the ticket names."""


def open_handoff(settings: HandoffSettings, device: torch.device | str = "cpu") -> Handoff:
    """Open a hand-off of the kind in the settings. `device`: where `take` puts outputs in this process.

    Raises `HandoffError` for an unknown kind or one that this machine cannot serve, `OverCapacity` if too many files
    are open.
    """
    import torch  # here, since it takes seconds to import: a stop of the server needs only the settings

    from handoff.handoff import Handoff

    if settings.kind not in KINDS:
        raise HandoffError(f"unknown kind of hand-off {settings.kind!r}; known are {', '.join(KINDS)}")
    kinds = KINDS[settings.kind]
    if settings.kind == "auto" and not torch.cuda.is_available():
        kinds = kinds[1:]  # nothing to fall back from
    with out_of_descriptors():
        return Handoff(settings, device, {kind: _maker(kind) for kind in kinds})


def _maker(kind: str) -> Callable[[TransportContext], Transport]:
    def make(context: TransportContext) -> Transport:
        module, name = TRANSPORTS[kind].split(":")
        try:
            transport: Transport = getattr(importlib.import_module(module), name)(context)
        except ImportError as error:
            missing = f"the hand-off {kind} needs a package that is missing here: {error}"
            raise HandoffError(f"{missing} (pip install 'path/to/checkout[server]')") from error
        return transport

    return make


_MODULES = {"MAGIC": "ticket", "Handoff": "handoff", "Ticket": "ticket"}
"""Modules by the name that they define, each imported at first use, since they need PyTorch."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'handoff' has no attribute {name!r}")
    return getattr(importlib.import_module(f"handoff.{_MODULES[name]}"), name)


__all__ = [
    "KINDS",
    "MAGIC",
    "NETWORK",
    "TRANSPORTS",
    "Handoff",
    "HandoffError",
    "HandoffSettings",
    "HandoffTimeout",
    "OverCapacity",
    "PayloadGone",
    "PeerLost",
    "Ticket",
    "TicketRejected",
    "Unreachable",
    "open_handoff",
]
