"""What a node tells of its work while it works; TorchServe's metrics are one way to hear it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from serving.request import Job
from serving.tracer import Tracer


class Telemetry(Protocol):
    """Told of each step of a batch."""

    tracer: Tracer
    """What it tells of single requests."""

    def stage(self, name: str, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        """Times one step of these: image_decode, encode, put, take, denoise_decode or image_encode."""

    def pairs(self, count: int) -> None:
        """So many frames were drawn."""

    def began(self, index: int, at: float) -> None:
        """The workflow's first node took the request with this index up then (seconds since the epoch)."""


class Silent:
    """Tells nobody but a caller who asks for the spans of its request."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.tracer = tracer or Tracer()

    def stage(self, name: str, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        return self.tracer.step(name, jobs)

    def pairs(self, count: int) -> None:
        pass

    def began(self, index: int, at: float) -> None:
        pass
