"""Measures a single pair at a time through the workflow of the server that `make serve` started.

python -m bench.pair [--count 20] [--format png]
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import islice

from bench import machine
from eden_client.api.routes import WORKFLOW_PATH
from eden_client.cli.demo_clip import draw_clip
from media import encode_image
from media.images import ImageFormat
from media.signals import exit_when_told_to
from server import Server, ServerError


def measure(server: Server, count: int, format: ImageFormat) -> list[float]:
    """Seconds of each call: two pictures of the demo clip (256x448) in, one picture out, one call at a time."""
    pictures = [encode_image(frame, format) for frame in islice(draw_clip(), 2)]
    files = {f"frame{i}": (f"{i}.{format}", picture) for i, picture in enumerate(pictures)}
    taken = []
    for _ in range(count + 1):  # the first one warms up
        begun = time.monotonic()
        reply = server.api.call(WORKFLOW_PATH, files=files, headers={"Accept": f"image/{format}"})
        taken.append(time.monotonic() - begun)
        if reply.status_code != 200 or reply.content.startswith(b"{"):
            raise ServerError(f"The server refused the pair: {reply.text[:500]}")
    return taken[1:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pair", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="calls to measure (default: %(default)s)")
    parser.add_argument(
        "--format", choices=("png", "jpeg", "webp"), default="png", help="format of pictures and answer (default: png)"
    )
    args = parser.parse_args()
    server = Server()
    if not server.is_running():
        parser.error("no server runs: `make serve` first")
    taken = sorted(measure(server, args.count, args.format))
    print(f"{machine.cpu()}, {args.count} lone pairs of 256x448, {args.format}:")
    print(f"median {statistics.median(taken):.3f} s, fastest {taken[0]:.3f} s, slowest {taken[-1]:.3f} s")
    return 0


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
