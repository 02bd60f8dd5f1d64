"""What every kind of hand-off implements: one way for a payload to travel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from eden.output import EncoderOutput
from handoff.errors import HandoffError
from handoff.layout import Layout
from handoff.ledger import Ledger
from handoff.payloads import Payload
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket


@dataclass(frozen=True)
class Post:
    """What a link needs to know of the process it serves."""

    settings: HandoffSettings
    device: torch.device
    """Where this process takes outputs to."""
    key: bytes
    counters: Counter[tuple[str, str]]


@dataclass(frozen=True)
class Written:
    """What `Link.put` gives: the way back to the payload."""

    route: Mapping[str, Any]
    """What the consumer has to know beside the kind; it travels in the ticket, signed."""
    inline: bytes = b""
    """The payload itself, where it travels behind the ticket."""


class Full(Exception):
    """`Link.put` found no room; the message says where. It is called again once payloads were dropped."""


class MachineFull(Full):
    """The same, and not for want of budget: the machine has no room for it. Another way may have some."""


class Unusable(HandoffError):
    """This process cannot go this way; the next route of the ticket, if there is one, may do."""


class Link(ABC):
    """One kind of hand-off, both halves; the resources of each are made when it is first used."""

    kind: ClassVar[str]
    holds: ClassVar[bool] = True
    """Whether the producer holds the payload; else the ticket does, and the producer only counts it."""
    shares: ClassVar[bool] = False
    """Whether it can send a payload from where another link keeps it."""

    def __init__(self, post: Post) -> None:
        self.post = post

    def relies(self, ledger: Ledger) -> bool:
        """Whether a payload that went this way needs no other copy."""
        return True

    @abstractmethod
    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        """Keep `output` under `payload`, complete when this returns. Raises `Full`, `Unusable`."""

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        """Whether a payload would find room here, were the payloads with the ids `without` dropped."""
        return True

    @abstractmethod
    def drop(self, payload: Payload) -> None:
        """Let go of what `put` kept, if it kept anything. No consumer reads it, and none can begin to."""

    @abstractmethod
    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        """The output on this process's device, in memory of its own; marks the payload taken."""

    def stream(self, ticket: Ticket, route: Mapping[str, Any]) -> Iterator[EncoderOutput]:
        """Pair by pair, each as soon as it is there."""
        yield from self.take(ticket, route)

    @abstractmethod
    def close(self) -> None:
        """Release everything; called once."""
