"""Calculates which single part would limit 100 and 1,000 GPUs first, from measured costs per job.

    python -m bench.scale     # needs HAProxy (Debian: apt install haproxy); three minutes

The planner, the join and HAProxy are measured here; a GPU's rate, the cost of writing a frame, and Ray's overhead are
read from the results of other benchmarks. All figures are for films and pairs of 480x854.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.scale import film, proxy, recorded, report
from media.signals import exit_when_told_to

JPEG = 76_800
"""Bytes of a frame of 480x854 by Pillow at quality 90 (bench/results/jpeg-h100.md)."""
PLANES = 480 * 854 * 3 // 2
CALLS = (
    proxy.Call("pairs as JPEG", 2 * JPEG, JPEG, 1),
    proxy.Call("pairs as JPEG, buffers of 256 KiB", 2 * JPEG, JPEG, 1, 256 << 10),
    proxy.Call("pairs as JPEG, buffers of 16 KiB", 2 * JPEG, JPEG, 1, 16 << 10),
    proxy.Call("clips of 24 as JPEG", 24 * JPEG, 23 * JPEG, 23),
    proxy.Call("clips of 16 as planes", 16 * PLANES, 15 * PLANES, 15),
)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and read every cost; those that are measured are medians of some runs."""
    costs: dict[str, Any] = {"machine": machine.describe(), "gpu": recorded.gpu(), "encode": recorded.encode()}
    costs["ray"] = recorded.ray()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = film.draw(folder, recorded.SIZE, args.frames)
        costs["film"] = {
            "planner": _median(args.runs, lambda: asdict(film.planner(path))),
            "join": _median(args.runs, lambda: asdict(film.joiner(path, folder, args.segments, args.preset))),
        }
        costs["proxy"] = [
            asdict(call) | _median(args.runs, partial(_of_calls, call, args.seconds, folder)) for call in CALLS
        ]
    return costs


def _of_calls(call: proxy.Call, seconds: float, folder: Path) -> dict[str, float]:
    return asdict(proxy.measure(call, seconds, folder))


def _median(runs: int, run: Callable[[], dict[str, float]]) -> dict[str, float]:
    found = [run() for _ in range(runs)]
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--frames", type=int, default=480, help="frames of the film that is planned (default: %(default)s)")
    add("--segments", type=int, default=20, help="segments that are joined (default: %(default)s)")
    add("--preset", default="veryfast", help="libx264's preset for the segments (default: %(default)s)")
    add(
        "--seconds",
        type=float,
        default=4,
        help="seconds for which each kind of call is repeated (default: %(default)s)",
    )
    add("--runs", type=int, default=3, help="runs, of which the median counts (default: %(default)s)")
    add("--out", type=Path, default=recorded.RESULTS / "scale")
    args = parser.parse_args()
    costs = measured(args)
    args.out.with_suffix(".json").write_text(json.dumps(costs, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(report.text(costs))
    print(report.text(costs))


if __name__ == "__main__":
    exit_when_told_to()
    main()
