"""What services report about their work while they run; TorchServe's metrics implement it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from serving.request import Job
from serving.tracer import Tracer


class Telemetry(Protocol):
    """Receives what happens to a batch."""

    tracer: Tracer
    """Traces of single requests."""

    def stage(self, name: str, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        """A context that times one step of jobs: image_decode, encode, put, take, denoise_decode or image_encode."""

    def pairs(self, count: int) -> None:
        """Count pairs whose frame between has been drawn."""

    def began(self, index: int, at: float) -> None:
        """Note when the workflow's first node took up the request with this index, in seconds since the epoch."""


class Silent:
    """Reports nothing; only the tracer works, for callers who ask for the spans of their request."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.tracer = tracer or Tracer()

    def stage(self, name: str, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        return self.tracer.step(name, jobs)

    def pairs(self, count: int) -> None:
        pass

    def began(self, index: int, at: float) -> None:
        pass
