"""Compares the topologies on the same GPUs in one run: split, split with decoders on both GPUs, and fused.

    python weights/make_random.py run/published --published
    python -m bench.topologies --checkpoint run/published --precision bf16 --out bench/results/topologies-2xh100
    python -m bench.topologies --device cpu --quick --out run/topologies   # to try it: a tiny network

First the model is measured in one process, then TorchServe under load and with a single caller. Each row is printed as
JSON as soon as it is measured, and OUT.json and OUT.md are written after each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from bench import machine
from bench.topologies import frames, report, served, weights
from bench.topologies.load import Generators
from bench.topologies.model import Model, measure_fused, measure_split
from bench.topologies.plan import BOTH, FORMATS, FUSED, GPU_PLAN, QUICK_PLAN, TOPOLOGIES, TRANSPORTS, Plan, Serving
from media.machine import cores
from media.signals import exit_when_told_to
from server import ServerError
from serving.settings import Settings

START_S = 120.0
"""Seconds that a server may take to start; one that takes longer is left out."""
MODEL_SHARE = 0.35
"""Share of the time for the model in one process; the servers get the rest."""
"""What --quick measures, where no checkpoint is named."""


class Run:
    """The measurements that the options ask for, and the results so far."""

    def __init__(self, args: argparse.Namespace, plan: Plan, folder: Path) -> None:
        self.args, self.plan, self.folder = args, plan, folder
        self.topologies = [TOPOLOGIES[name] for name in args.topologies]
        self.found: dict[str, Any] = {
            "machine": machine.describe(), "precision": args.precision, "rows": [], "left_out": []
        }  # fmt: skip
        self.ends = time.monotonic() + args.limit_seconds

    def all(self) -> None:
        """Make the measurements, the most important ones first."""
        servings = self.plan.servings(self.topologies, self.args.jpeg)
        stores = {serving: self.folder / f"store-{number}" for number, serving in enumerate(servings)}
        self.prepare(stores)
        self.in_process()
        with Generators(self.plan.processes) as generators:
            for serving, store in stores.items():
                self.serve(serving, store, generators)

    def prepare(self, stores: dict[Serving, Path]) -> None:
        """Draw all frames and pack all archives, side by side."""
        checkpoint, precision = self.args.checkpoint, self.args.precision
        with ThreadPoolExecutor(min(8, cores())) as threads:
            jobs = [threads.submit(frames.draw, work, self.folder) for work in {*self.plan.works, self.plan.lone}]
            jobs += [
                threads.submit(served.pack, serving, self.plan, checkpoint, precision, store)
                for serving, store in stores.items()
            ]
            for job in jobs:
                job.result()

    def in_process(self) -> None:
        """Measure the model without a server."""
        gpus = self.args.device == "cuda"
        model = Model(
            checkpoint=self.args.checkpoint,
            precision=self.args.precision,
            devices=("cuda:0", "cuda:1") if gpus else ("cpu", "cpu"),
            handoff="cuda_ipc" if gpus else "shared_memory",
            seconds=self.plan.model_seconds,
            threads=max(1, cores() // 2),
            folder=self.folder,
            works=self.plan.works,
        )
        if FUSED in self.topologies:
            self.rows_of(FUSED, measure_fused(model))
        if split := [each for each in self.topologies if each != FUSED]:
            self.rows_of(" and ".join(split), measure_split(model, split))

    def rows_of(self, name: str, rows: Generator[dict[str, Any]]) -> None:
        """Add rows of the model in process, as long as enough time is left for the servers."""
        with closing(rows):
            try:
                for row in rows:
                    self.add(row)
                    if self.left() < (1 - MODEL_SHARE) * self.args.limit_seconds:
                        self.leave_out(f"{name}, in process, whatever comes after {row['topology']}, {row['work']}")
                        return
            except (RuntimeError, OSError) as error:
                self.leave_out(f"{name}, in process: {error}")

    def serve(self, serving: Serving, store: Path, generators: Generators) -> None:
        """Measure a server: every kind of work, and a lone caller after the load of its kind of pairs."""
        name = f"{serving.topology}, {serving.name}, JPEG by {serving.jpeg or 'default'}"
        if self.left() < self.plan.start_seconds + self.plan.window_seconds:
            self.leave_out(f"{name}: no time left")
            return
        try:
            timeout = min(START_S, max(1.0, self.left()))
            with served.started(store, self.folder / f"server-{store.name}", timeout) as server:
                for work in self.plan.works_of(serving, self.args.jpeg, self.args.transport):
                    if self.left() < self.plan.warm_seconds + self.plan.window_seconds:
                        self.leave_out(f"{name}, {work.name}: no time left")
                        continue
                    warm = self.plan.warm_seconds * (
                        2 if work == self.plan.works[0] else 1
                    )  # Java has to compile itself
                    self.add(served.measure(server, serving, work, self.plan, warm, generators, self.folder))
                    if work == self.plan.lone and serving.first and serving.topology != BOTH:
                        self.add(served.lone_pair(server, serving, self.plan, self.folder))
        except (ServerError, RuntimeError, OSError, EOFError) as error:
            self.leave_out(f"{name}: {type(error).__name__}: {error}")

    def left(self) -> float:
        """Seconds that are left."""
        left: float = self.ends - time.monotonic()
        return left

    def add(self, row: dict[str, Any]) -> None:
        """Print a row of results, and write all results so far."""
        row["at_s"] = round(self.args.limit_seconds - self.left(), 1)
        self.found["rows"].append(row)
        report.write(self.args.out, self.found)
        print(json.dumps(row), flush=True)

    def leave_out(self, what: str) -> None:
        """Record and print that something is not measured."""
        self.found["left_out"].append(what)
        report.write(self.args.out, self.found)
        print(json.dumps({"part": "left out", "what": what}), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    with tempfile.TemporaryDirectory(prefix="topologies-") as temporary:
        folder = Path(temporary)
        args.checkpoint = weights.checkpoint(args, folder)
        plan = (QUICK_PLAN if args.quick else GPU_PLAN).only(args.formats)
        run = Run(args, plan, folder)
        run.all()
    print(report.as_markdown(run.found))
    return 0 if run.found["rows"] else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.topologies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    knows_jpeg = "jpeg" in Settings.__struct_fields__
    weights.add_options(parser, quick=True)
    add = parser.add_argument
    add(
        "--topologies",
        type=lambda text: text.split(","),
        default=list(TOPOLOGIES),
        help=f"topologies to measure, of {','.join(TOPOLOGIES)} (default: all)",
    )
    add(
        "--jpeg",
        type=lambda text: text.split(","),
        default=["auto"] if knows_jpeg else [],
        help="values of the archives' setting jpeg: the first is used for all servers, the others only for fused and "
        "split, which are measured again (default: auto, where this version has that setting)",
    )
    add(
        "--formats",
        type=lambda text: text.split(","),
        default=list(FORMATS),
        help=f"formats of the clips, of {','.join(FORMATS)} (default: both)",
    )
    add(
        "--transport",
        type=lambda text: text.split(","),
        default=["npy"],
        help="how raw frames are sent: npy, in bodies; region, in shared memory; npy,region: both (default: npy)",
    )
    add(
        "--limit-seconds",
        type=float,
        default=520.0,
        help="seconds after which no new row is begun (default: %(default)s)",
    )
    add("--out", type=lambda text: Path(text).absolute(), required=True, help="path of the results, without a suffix")
    args = parser.parse_args(argv)
    if unknown := set(args.topologies) - set(TOPOLOGIES):
        parser.error(f"unknown topologies {', '.join(sorted(unknown))}: known are {', '.join(TOPOLOGIES)}")
    if unknown := set(args.formats) - set(FORMATS):
        parser.error(f"unknown formats {', '.join(sorted(unknown))}: known are {', '.join(FORMATS)}")
    if unknown := set(args.transport) - set(TRANSPORTS):
        parser.error(f"unknown transports {', '.join(sorted(unknown))}: known are {', '.join(TRANSPORTS)}")
    if args.jpeg and not knows_jpeg:
        parser.error("these archives have no setting jpeg")
    weights.check(parser, args, gpus=2)
    return args


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
