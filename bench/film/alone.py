"""Makes a film as the command does, by a server that answers at once, and prints its summary as JSON.

python -m bench.film.alone FILM TARGET PRESET CRF MEMORY
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from bench.film.instant import instant_client
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from eden_client.film.stages import Stage
from media.signals import exit_when_told_to


class Silent:
    """A report that says nothing."""

    def begin(self, source: str, expected: int | None, done: int) -> None: ...

    def note(self, text: str) -> None: ...

    def progress(self, frames: int, limit: Stage | None, drawn: bool) -> None: ...


def main() -> None:
    source, target, preset, crf, memory = sys.argv[1:]
    order = Order(source, target, codec="h264", preset=preset, crf=int(crf), overwrite=True, memory=int(memory))
    print(json.dumps(asdict(interpolate_film(order, instant_client(), Silent(), instant_client))))


if __name__ == "__main__":
    exit_when_told_to()
    main()
