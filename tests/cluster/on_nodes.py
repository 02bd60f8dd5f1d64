"""What stands for a server on a node of a test's cluster: plain data that a node can import."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.unit.client.film.drawing import Drawing, Gone


@dataclass(frozen=True)
class Blending:
    """Blends, for each segment; notes in a folder, if there is one, each time that one is begun."""

    noted: Path | None = None
    gone_in: int | None = None
    """the segment at which the run ends"""
    until: Path | None = None
    """segments from number 3 on wait for this file"""

    def __call__(self, number: int) -> Drawing:
        if self.noted:
            (self.noted / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if number == self.gone_in:
            raise Gone("here")
        while self.until and number >= 3 and not self.until.exists():
            time.sleep(0.02)
        return Drawing()
