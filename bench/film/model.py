"""Measures how fast the model draws without a server, and runs a server for the command."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.topologies import frames, served
from bench.topologies.model import Model, measure_fused
from bench.topologies.plan import FUSED, GPU_PLAN, QUICK_PLAN, Plan, Serving, Work
from media.machine import cores

START_S = 300.0
"""Seconds that the server may take to start."""
LARGE = 1 << 20
"""Pixels per frame from which clips are shorter, and fewer of them are drawn together."""


@dataclass(frozen=True)
class Weights:
    """A checkpoint, its precision (fp32, tf32 or bf16), and the devices on which the model runs."""

    checkpoint: Path
    precision: str
    devices: tuple[str, ...]
    """a replica runs on each: "cuda:0", "cuda:1", or "cpu" """

    @property
    def plan(self) -> Plan:
        """The server's settings for such devices."""
        return QUICK_PLAN if self.devices[0] == "cpu" else GPU_PLAN


def engine(weights: Weights, size: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Measure a replica per device for so many `seconds`, with frames of `size` (H, W) in the host's memory.

    Returns a row: `frames` of the doubled film in `seconds`, and the clips per `batch`.
    """
    large = size[0] * size[1] >= LARGE
    work = Work(size, clip=8 if large else 16, format="npy", batch=2 if large else 4, users=0)
    with tempfile.TemporaryDirectory() as name:
        frames.draw(work, Path(name))
        threads = max(1, cores() // len(weights.devices))
        model = Model(
            weights.checkpoint, weights.precision, weights.devices, "", seconds, threads, Path(name), works=(work,)
        )
        (row,) = measure_fused(model)
    return {"frames": 2 * row["pairs_s"] * seconds, "seconds": seconds, "batch": work.batch}


@contextmanager
def serving(weights: Weights, folder: Path) -> Iterator[list[str]]:
    """A running server of the fused model, in `folder`. Yields the command's options that name it."""
    how = Serving(FUSED, weights.plan.settings[FUSED][0])
    served.pack(how, weights.plan, weights.checkpoint, weights.precision, folder / "store")
    with served.started(folder / "store", folder / "server", START_S) as server:
        yield ["--server", server.url, "--key-file", str(server.tokens.path)]
