"""Finds the scene cuts of a film: python -m web.cut_finder FILM prints each cut and its progress, as JSON lines.

The cuts are those at which the command eden-interpolate repeats frames.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from eden_client.film.plan.cuts import SENSITIVITY
from eden_client.film.plan.timeline import Relation
from eden_client.film.plan.transitions import classify_transitions
from eden_client.film.read.read_ahead import ReadAhead
from eden_client.film.read.sources import open_film
from media import MediaError
from media.signals import exit_when_told_to
from web.film_kinds import kind_of
from web.lifeline import end_with_the_input

_OFTEN = 0.25
"""Seconds between two reports of progress."""


def run(path: Path) -> int:
    """Find the cuts and print them. Returns the exit code."""
    exit_when_told_to()
    end_with_the_input()
    os.nice(10)  # what somebody waits for comes first
    try:
        kind_of(path)
        _find(path)
    except (MediaError, OSError) as error:
        _tell(error=str(error))
        return 1
    _tell(complete=True)
    return 0


def _find(path: Path) -> None:
    told = time.monotonic()
    with open_film(str(path), None) as film, ReadAhead(film) as ahead:
        for picture, relation in classify_transitions(ahead.pictures(), SENSITIVITY, duplicates=True):
            at = float(picture.time - film.start)
            if relation is Relation.CUT:
                _tell(cut=at)
            if time.monotonic() - told > _OFTEN:
                told = time.monotonic()
                _tell(scanned=at)


def _tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    raise SystemExit(run(Path(sys.argv[1])))
