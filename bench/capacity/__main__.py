"""Measures a machine's capacity: streams and pairs per second, with their latency, for several settings of a server.

    make capacity                                                   # here, with the demo weights
    python -m bench.capacity --help

Starts a server per setting, raises the load of each workload step by step with Locust, and writes OUT.html
(self-contained), OUT.png, OUT.csv, and OUT.json, from which `--from OUT.json` makes the others again. The same run also
does the same work in one process without a server, which shows the cost of serving.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import machine
from bench.capacity.plan import Plan, Setting, Workload
from bench.capacity.report import write_report
from bench.capacity.run import Run
from media.signals import exit_when_told_to
from server.settings import PROJECT

SETTINGS = (
    "batch=8,delay=3",
    "batch=1,delay=0",
    "batch=16,delay=10",
    "batch=8,delay=3,threads=1",
    "batch=8,delay=3,decoders=2,threads=1",
    "batch=8,delay=3,handoff=inline",
)
WORKLOADS = (
    "256x448,K=2,jpeg,users=1/2/4/8",
    "256x448,K=24,jpeg,users=1/2",
    "256x448,K=2,png,users=1/4",
    "256x448,K=24,png,users=2",
)


def main() -> int:
    args = _arguments()
    if args.again:
        write_report(json.loads(args.again.read_text()), args.again.with_suffix(""))
        return 0
    plan = _plan(args)
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "plan": plan.as_json(),
        "machine": machine.describe(),
        "engine": [],
        "rows": [],
        "left_out": [],
    }
    run = Run(plan, found)
    try:
        run.engine()
        for setting in plan.settings:
            try:
                run.setting(setting)
            except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
                run.say(f"failed: {error}")
                found["left_out"].append(f"{setting}: {error}")
    finally:
        run.save()
    if not any(row["pairs_a_second"] for row in found["rows"]):
        print("nothing was measured")
        return 1
    write_report(found, plan.out)
    print(f"\n{plan.out}.html")
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    return Plan(
        out=args.out.absolute(),
        checkpoint=args.checkpoint.absolute(),
        precision=args.precision,
        settings=tuple(Setting.parse(text) for text in args.setting or SETTINGS),
        workloads=tuple(Workload.parse(text) for text in args.workload or WORKLOADS),
        compare=args.compare,
        phase_seconds=args.phase_seconds,
        settle_seconds=args.settle_seconds,
        engine_seconds=args.engine_seconds,
        processes=args.processes,
        latency_target=args.latency_target,
        camera_rate=args.camera_rate,
        overload_seconds=args.overload_seconds,
        limit_seconds=args.limit_seconds,
        warm=args.warm,
        command=tuple(sys.argv[1:]),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=PROJECT / "bench" / "results" / "capacity",
        help="path of the results, without a suffix (default: %(default)s)",
    )
    add("--from", dest="again", type=Path, metavar="OUT.json", help="make the report of these results, measure nothing")
    demo = PROJECT / "weights" / "demo"
    add("--checkpoint", type=Path, default=demo, help="folder or file of the weights (default: %(default)s)")
    add("--precision", default="fp32", help="fp32, tf32 or bf16 (default: %(default)s)")
    split = "encoders, decoders, decoder_gpus=1/0, handoff"
    known = f"batch, delay, threads, {split} or, with topology=fused, fused_workers; or a dotted one (archive.sh --set)"
    add(
        "--setting",
        action="append",
        metavar="KEY=VALUE,...",
        help=f"a setting to measure: {known}; may be repeated (default: {len(SETTINGS)} settings)",
    )
    add(
        "--workload",
        action="append",
        metavar="HEIGHTxWIDTH,K=K,FORMAT,users=A/B/C",
        help="a load to measure with; may be repeated. The first setting is measured with every load",
    )
    add(
        "--compare",
        type=int,
        default=2,
        help="loads, from the first on, with which the other settings are measured (default: %(default)s)",
    )
    add(
        "--phase-seconds",
        type=float,
        default=60.0,
        help="seconds per step, several times as many as a clip takes (default: %(default)s)",
    )
    add("--settle-seconds", type=float, default=4.0, help="seconds of load before each step (default: %(default)s)")
    add("--engine-seconds", type=float, default=10.0, help="seconds for the engine by itself (default: %(default)s)")
    add("--processes", type=int, default=1, help="processes that make the load (default: %(default)s)")
    add("--latency-target", type=float, default=1.0, help="seconds that 19 of 20 pairs may take (default: %(default)s)")
    add("--camera-rate", type=float, default=2.0, help="pairs per second of each camera (default: %(default)s)")
    add(
        "--overload-seconds",
        type=float,
        default=30.0,
        help="seconds of twice the load that the server can answer; 0: none (default: %(default)s)",
    )
    add(
        "--limit-seconds",
        type=float,
        default=3600.0,
        help="seconds after which no step is begun (default: %(default)s)",
    )
    add("--warm", action="store_true", help="let workers prepare for the sizes before they serve (CUDA graphs)")
    return parser.parse_args()


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
