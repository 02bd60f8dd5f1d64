"""What a node tells of its work while it works; TorchServe's metrics are one way to hear it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Telemetry(Protocol):
    """Told of each step of a batch."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Times one step: image_decode, encode, put, take, denoise_decode or image_encode."""

    def pairs(self, count: int) -> None:
        """So many frames were drawn."""

    def began(self, index: int, at: float) -> None:
        """The workflow's first node took the request with this index up then (seconds since the epoch)."""


class Silent:
    """Tells nobody."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        yield

    def pairs(self, count: int) -> None:
        pass

    def began(self, index: int, at: float) -> None:
        pass
