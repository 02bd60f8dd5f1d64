"""Measures throughput with 1, 2 and 4 GPUs of one host, each with an equal share of its CPU cores.

    python weights/make_random.py run/published --published
    python -m bench.gpus --checkpoint run/published --precision bf16 --out bench/results/gpus-4xh100
    python -m bench.gpus --device cpu --quick --out /tmp/gpus        # a trial without GPUs

films   Ray doubles films: a node with an engine per GPU, and a command per GPU with a film of its own; with the most
        GPUs, also one command with all of these films
pairs   HAProxy distributes pairs: a TorchServe of the fused model per GPU, and equally many callers per server, each of
        which sends the next pair when it has the last answer

With fewer GPUs, the cores of the others' shares are idle: each node, server and command is bound to its own cores.
OUT.json, OUT.md and OUT.png are written after each row.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench import machine
from bench.cluster.nodes import Share
from bench.gpus import films, pairs, report
from bench.topologies import weights
from bench.topologies.plan import GPU_PLAN, QUICK_PLAN
from media.machine import cores
from media.signals import exit_when_told_to

PARTS = ("films", "pairs")


class Run:
    """The measurements that the options ask for, and the results so far."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.ends = time.monotonic() + args.limit_seconds
        self.shares = shares(max(args.gpus), args.device == "cuda")
        self.found: dict[str, Any] = {
            "machine": machine.describe(),
            "precision": args.precision,
            "processors_per_gpu": self.shares[0].processors,
            "bound_to_cores": bool(self.shares[0].cores),
            "film": {"size": args.size, "frames": args.frames, "lanes": args.lanes},
            "rows": [],
            "left_out": [],
        }

    def all(self) -> None:
        """Make the measurements."""
        if "films" in self.args.parts:
            self.films()
        if "pairs" in self.args.parts:
            self.pairs()

    def films(self) -> None:
        """Measure films, with a cluster for each number of GPUs."""
        args = self.args
        film = films.draw(self.folder, args.size, args.frames)
        for gpus in args.gpus:
            if self.too_late(f"films, {gpus} GPUs"):
                return
            engine = films.engine(args.checkpoint, args.precision, args.lanes)
            with films.Cluster(self.shares[:gpus], engine, film, self.folder) as cluster:
                for preset in args.presets:
                    for commands in dict.fromkeys([gpus, 1] if gpus == max(args.gpus) else [gpus]):
                        if not self.too_late(f"films, {gpus} GPUs, {preset}, {commands} commands"):
                            self.add(cluster.measure(preset, commands, args.seconds))

    def pairs(self) -> None:
        """Measure pairs. The servers are started once, HAProxy for each number of them."""
        args = self.args
        plan = QUICK_PLAN if args.quick else replace(GPU_PLAN, window_seconds=args.window)
        if self.too_late("pairs"):
            return
        with pairs.Servers(self.shares, plan, args.checkpoint, args.precision, self.folder) as servers:
            for gpus in args.gpus:
                for work in servers.works:
                    if not self.too_late(f"pairs, {gpus} GPUs, {work.name}"):
                        self.add(servers.measure(gpus, work))

    def too_late(self, what: str) -> bool:
        """Whether the time is over, so that `what` must be left out, which is then reported."""
        late: bool = time.monotonic() > self.ends
        if late:
            self.found["left_out"].append(what)
            report.write(self.args.out, self.found)
        return late

    def add(self, row: dict[str, Any]) -> None:
        """Print a row of results, and write all results so far."""
        row["at_s"] = round(self.args.limit_seconds - (self.ends - time.monotonic()), 1)
        print(json.dumps(row), flush=True)
        self.found["rows"].append(row)
        report.write(self.args.out, self.found)


def shares(count: int, with_gpus: bool) -> list[Share]:
    """Equal parts of this machine. They are bound to cores where this process may use all cores that it sees.

    Where only the amount of processor time is limited, it is not known which cores are ours.
    """
    allowed = sorted(os.sched_getaffinity(0))
    each = max(1, cores() // count)
    ours = len(allowed) == cores()
    return [
        Share(each, tuple(allowed[number * each : (number + 1) * each]) if ours else (), number if with_gpus else None)
        for number in range(count)
    ]


def main() -> int:
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="gpus-") as name:
        folder = Path(name)
        args.checkpoint = weights.checkpoint(args, folder)
        run = Run(args, folder)
        run.all()
    print(report.markdown(run.found))
    return 0 if run.found["rows"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights.add_options(parser, quick=True)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="measurements to make (default: all)")
    add("--gpus", nargs="+", type=int, help="numbers of GPUs (default: 1, 2 and 4, as far as there are; CPU: 1, 2)")
    add("--size", default="480x854", metavar="HxW", help="frame size of the films in pixels (default: %(default)s)")
    add("--frames", type=int, default=1440, help="frames of each film's source (default: %(default)s)")
    add("--presets", nargs="+", default=["ultrafast", "medium"], help="libx264's presets (default: ultrafast medium)")
    add("--lanes", type=int, default=8, help="segments that an engine makes at once (default: %(default)s)")
    add("--seconds", type=float, default=45.0, help="the most seconds that a row of films takes (default: %(default)s)")
    add(
        "--window", type=float, default=5.0, help="seconds over which a row of pairs is measured (default: %(default)s)"
    )
    add("--limit-seconds", type=float, default=340.0, help="seconds after which no row is begun (default: %(default)s)")
    add("--out", type=lambda text: Path(text).absolute(), required=True, help="path of the results, without a suffix")
    args = parser.parse_args()
    there = torch.cuda.device_count() if args.device == "cuda" else 2
    args.gpus = args.gpus or [count for count in (1, 2, 4) if count <= max(1, there)]
    weights.check(parser, args, gpus=max(args.gpus))
    if args.quick:
        args.size, args.frames = "64x96", min(args.frames, 240)
    return args


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
