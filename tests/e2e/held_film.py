"""The worker, held in the middle of its film: python -m tests.e2e.held_film INPUT OUTPUT [options].

Where $HOLD names a file, it goes no further than HELD_AFTER pairs as long as that is there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from eden_client.api.client import EdenClient
from eden_client.cli import connect
from tests.unit.web.instant_film import HELD_AFTER
from web.worker import run


class Held(EdenClient):
    """Draws, as long as nobody holds it."""

    def between(self, *clip, **options):
        hold = Path(os.environ.get("HOLD", "/nowhere"))
        for drawn in super().between(*clip, **options):
            while hold.exists() and self.traffic.counts()["pairs"] > HELD_AFTER:
                time.sleep(0.01)
            yield drawn


if __name__ == "__main__":
    connect.EdenClient = Held
    raise SystemExit(run(sys.argv[1:]))
