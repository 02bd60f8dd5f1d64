"""The network of tests in which something is drawn, and of their servers: a pair takes a fifth of the small one's time.

What is drawn looks like noise either way.
"""

from __future__ import annotations

from pathlib import Path

from bench.topologies.weights import TINY
from eden.random_weights import write_random


def write_tiny(folder: Path) -> None:
    """Write its random numbers to `folder` as a checkpoint."""
    write_random(folder, TINY)
