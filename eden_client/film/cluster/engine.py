"""Both halves of EDEN in the process that makes segments, on a GPU if there is one: without a server and hand-off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np

from eden_client.api.client import EdenClient
from eden_client.api.errors import ServerTrouble
from eden_client.api.traffic import Traffic
from eden_client.api.yuv import YuvFormat
from eden_client.film.cluster.excerpts import Range
from eden_client.film.cluster.node_task import Connect, Made, NeedsAll, NotMade, Sent, SentFilm, make_segment
from eden_client.film.jobs import SegmentJob
from eden_client.trace.recording import Step
from media import Frame, MediaError


@dataclass(frozen=True)
class EngineChoice:
    """The weights and settings of an engine."""

    checkpoint: str
    """a path that is valid on every node"""
    precision: str
    """fp32, tf32 or bf16"""
    seed: int
    window: int
    lanes: int = 8
    """segments that are made at once per GPU, at most"""

    @property
    def name(self) -> str:
        """A name that is equal for engines that draw equal frames."""
        return f"{self.checkpoint} {self.precision} {self.seed}"


class FusedEngine:
    """The networks, loaded when first used. Thread-safe: one thread draws at a time.

    device  "cuda", "cpu", or None: a GPU if there is one
    """

    def __init__(self, choice: EngineChoice, device: str | None = None) -> None:
        self._choice, self._device, self._lock = choice, device, threading.Lock()
        self._halves: tuple[Any, Any] | None = None

    def between(self, frames: Sequence[Frame], yuv: YuvFormat | None) -> list[Frame]:
        """The K-1 frames between K: RGB [H, W, 3] uint8, or planes [H*3/2, W] uint8 where `yuv` is given.

        Raises MediaError: the model is not installed on this node, or the checkpoint cannot be loaded.
        """
        with self._lock:
            encoder, decoder = self._halves = self._halves or self._loaded()
            import torch

            from eden import Planes
            from eden import YuvFormat as Yuv

            samples = torch.from_numpy(np.stack(frames))
            planes = Yuv(yuv.matrix, yuv.range) if yuv else None
            clip = Planes(samples, planes) if planes else samples.permute(0, 3, 1, 2)
            made = decoder.interpolate([encoder.encode(clip)], seeds=[self._choice.seed], as_uint8=True, yuv=planes)[0]
            return list((made if yuv else made.permute(0, 2, 3, 1)).contiguous().cpu().numpy())

    def _loaded(self) -> tuple[Any, Any]:
        try:
            import torch

            from eden import CheckpointError, DitDecoder, Encoder
        except ModuleNotFoundError as error:
            raise MediaError(
                f"--engine needs the model on every node, which lacks {error.name}: install the server's "
                "requirements.txt there, and start Ray with the server's folder in PYTHONPATH"
            ) from error
        place = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint, precision = self._choice.checkpoint, self._choice.precision
        try:
            return Encoder.load(checkpoint, place, precision), DitDecoder.load(checkpoint, place, precision)
        except (CheckpointError, OSError, ValueError) as error:
            raise MediaError(f"--engine {checkpoint}: {error}") from error


class EngineClient:
    """The part of an EdenClient that a segment needs, with frames drawn by an engine of this process."""

    takes_planes, trace = True, None

    def __init__(self, engine: FusedEngine, choice: EngineChoice) -> None:
        self._engine, self.seed, self.window = engine, choice.seed, choice.window
        self.traffic = Traffic()
        self.on_trouble: Callable[[ServerTrouble], None] | None = None

    def between(
        self, frames: Sequence[Frame], yuv: YuvFormat | None = None, within: Step | None = None
    ) -> Iterator[Frame]:
        """The K-1 frames between K, as `FusedEngine.between` draws them."""
        for frame in self._engine.between(frames, yuv):
            self.traffic.add(pairs=1)
            yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class EngineHolder:
    """A Ray actor with an engine. It makes several segments at once: while one encodes, another draws."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice, self._engine = choice, FusedEngine(choice)

    def ready(self) -> bool:
        """True, once Ray has started the actor."""
        return True

    def make(
        self, film: tuple[SentFilm, Connect], head: Sequence[Range], job: SegmentJob, sent: Sent
    ) -> Made | NotMade | NeedsAll:
        """Make a segment, as `make_segment` does."""
        import ray

        def connect(_: int) -> AbstractContextManager[EdenClient]:
            return cast(AbstractContextManager[EdenClient], EngineClient(self._engine, self._choice))

        return make_segment(film[0], head, job, sent, connect, ray.get)
