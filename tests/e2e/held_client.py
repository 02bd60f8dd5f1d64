"""A client that is held in the middle of its film, whichever process it is in, until a test lets it go."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from eden_client.api.client import EdenClient


class Held(EdenClient):
    """Draws no further, as long as the file that $HOLD names is there, once so many segments are noted in a journal.

    How many, and in which journal, the file says: see `Hold`.
    """

    def between(self, *clip, **options):
        for drawn in super().between(*clip, **options):
            while _is_held(Path(os.environ["HOLD"])):
                time.sleep(0.01)
            yield drawn


class Hold:
    """What holds the command that makes `target`, once `count` segments of it are finished. `path` is for $HOLD."""

    def __init__(self, path: Path, target: Path, count: int) -> None:
        self.path = path
        self._journal, self._count = Path(f"{target}.parts") / "journal.json", count
        path.write_text(json.dumps([count, str(self._journal)]))

    def reached(self) -> bool:
        """Whether the command is held, or is about to be."""
        return _segments(self._journal) >= self._count

    def let_go(self) -> None:
        """It goes on."""
        self.path.unlink()


def _is_held(hold: Path) -> bool:
    try:
        count, journal = json.loads(hold.read_text())
    except FileNotFoundError:
        return False
    return _segments(Path(journal)) >= count


def _segments(journal: Path) -> int:
    try:
        return len(json.loads(journal.read_text())["segments"])
    except FileNotFoundError:
        return 0
