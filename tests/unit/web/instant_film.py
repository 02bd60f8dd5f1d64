"""The worker with a client that needs no server: python -m tests.unit.web.instant_film INPUT OUTPUT [options].

Where $HOLD names a file, it draws no more pairs than that says (HELD_AFTER where it is empty) as long as it is there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from eden_client.cli import connect
from tests.unit.client.film.drawing import Drawing
from web.worker import run

HELD_AFTER = 25
"""Pairs: with --times 2 the segments of 12 and of 24 frames are finished by then."""


class Held(Drawing):
    """Blends two frames, as long as nobody holds it."""

    def __init__(self, *_, **__) -> None:
        super().__init__()
        self.hold = Path(os.environ.get("HOLD", "/nowhere"))

    def is_held(self) -> bool:
        try:
            most = int(self.hold.read_text() or HELD_AFTER)
        except FileNotFoundError:
            return False
        return self.traffic.counts()["pairs"] > most

    def between(self, frames, yuv=None):
        for drawn in super().between(frames, yuv):
            while self.is_held():
                time.sleep(0.01)
            yield drawn


if __name__ == "__main__":
    connect.EdenClient = Held
    raise SystemExit(run(sys.argv[1:]))
