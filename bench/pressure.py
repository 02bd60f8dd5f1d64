"""Sends large pairs, then large clips, then pairs again, to see whether a hand-off full of one accepts the other.

    python weights/make_random.py run/published --published
    python -m bench.pressure --checkpoint run/published --precision bf16 --out run/pressure   # two GPUs
    python -m bench.pressure --device cpu --seconds 5 --out run/pressure   # to try it: a tiny network, small frames

The topology is split. OUT.json and OUT.md have a row for each of the three: the calls that were answered, those that
were refused and why, and the hand-off's counters.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import machine
from bench.capacity.samples import Readings
from bench.topologies import frames, weights
from bench.topologies.load import Generators
from bench.topologies.plan import GPU_PLAN, QUICK_PLAN, SPLIT, Serving, Work
from bench.topologies.served import pack, started, target
from media.signals import exit_when_told_to
from server.http import request

START_S = 300.0
EVENTS = ("put", "take", "expired", "refused")


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    gpus = args.device == "cuda"
    size, plan = ((1080, 1920), GPU_PLAN) if gpus else ((64, 96), QUICK_PLAN)
    plan = replace(plan, warm_sizes=(size,))
    kind, workers = ("cuda_ipc", 2) if gpus else ("shared_memory", 1)
    setting = replace(plan.settings[SPLIT][0], handoff=kind, encoders=workers, decoders=workers)
    pairs = Work(size, 2, "npy", batch=1, users=64 if gpus else 8, by_region=True)
    clips = Work(size, 16, "npy", batch=1, users=16 if gpus else 4, by_region=True)
    found: dict[str, Any] = {"machine": machine.describe(), "setting": str(setting), "rows": []}
    with tempfile.TemporaryDirectory(prefix="pressure-") as name, Generators(plan.processes) as generators:
        folder = Path(name)
        checkpoint = weights.checkpoint(args, folder)
        for work in (pairs, clips):
            frames.draw(work, folder)
        pack(Serving(SPLIT, setting), plan, checkpoint, args.precision, folder / "store")
        with started(folder / "store", folder / "server", START_S) as server:
            for work in (pairs, clips, pairs):
                aim = target(server, work, folder)
                row = generators.measure(aim, work.users, warm=2.0, window=args.seconds, most_warm=20.0)
                readings = Readings(request("GET", server.metrics_url, timeout=10).text)
                counted = {each: readings.sum("eden_handoff_events_total", Event=each) for each in EVENTS}
                found["rows"].append({"work": work.name, **row, "handoff_so_far": counted})
                write(args.out, found)
                print(json.dumps(found["rows"][-1]), flush=True)
    return 0


def write(out: Path, found: dict[str, Any]) -> None:
    """Write OUT.json and OUT.md."""
    lines = [
        f"{machine.line(found['machine'])}. Split, {found['setting']}; frames in shared memory, one after the other.",
        "",
        "| work | in flight | answered | refused or failed | pairs/s | p50, ms | p99, ms | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        why = "; ".join(f"{count}: {text}" for text, count in row["failures"].items())
        p50, p99 = (f"{row[each]:.0f}" if row[each] else "" for each in ("p50_ms", "p99_ms"))
        cells = (row["work"], row["users"], row["answers"], row["failed"], f"{row['pairs_s']:.1f}", p50, p99, why)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pressure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights.add_options(parser)
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="seconds for which each row is measured (default: %(default)s)")
    add("--out", type=lambda text: Path(text).absolute(), required=True, help="path of the results, without a suffix")
    return parser.parse_args(argv)


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
