"""How much a machine holds: streams, pairs a second, at which latency, with which settings.

    make capacity                                                   # here, with the demo weights
    python -m bench.capacity --help

Starts a server of its own for each setting, raises the load of each workload step by step with Locust, and writes
OUT.html (self-contained), OUT.png, OUT.csv, and OUT.json, from which `--from OUT.json` makes the others anew. In the
same run the same work is done in one process without any server, so that what serving costs is plain.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import machine
from bench.capacity_overload import overload
from bench.capacity_plan import Plan, Setting, Workload
from bench.capacity_report import write_report
from bench.capacity_samples import Gpus, Sampler
from bench.capacity_verdict import held_cameras, saturated_pairs
from bench.processes import running
from loadtest._phases import Phase
from media.signals import exit_when_told_to
from server import Server
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
        found = json.loads(args.again.read_text())
        write_report(found, args.again.with_suffix(""))
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


class Run:
    """One run of a plan; what it found is saved after every workload."""

    def __init__(self, plan: Plan, found: dict[str, Any]) -> None:
        self.plan, self.found, self.began = plan, found, time.monotonic()

    def save(self) -> None:
        """Write OUT.json."""
        self.plan.out.with_suffix(".json").write_text(json.dumps(self.found, indent=1))

    def say(self, text: str) -> None:
        """A line of progress, with the seconds so far."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def late(self, what: str) -> bool:
        """Whether there is no time left to begin something, which is then listed as left out."""
        if time.monotonic() - self.began < self.plan.limit_seconds:
            return False
        self.say(f"no time left for {what}")
        self.found["left_out"].append(what)
        return True

    def engine(self) -> None:
        """The same work without a server."""
        self.say("one process, no server")
        batch = self.plan.settings[0].batch
        work = [
            f"{w.height}x{w.width},{w.clip},{w.format},{batch if w.strategy == 'streaming' else 1}"
            for w in self.plan.workloads
        ]
        command = [sys.executable, "-m", "bench.capacity_engine", str(self.plan.checkpoint)]
        command += ["--precision", self.plan.precision, "--seconds", str(self.plan.engine_seconds)]
        done = subprocess.run(
            [*command, *(part for each in dict.fromkeys(work) for part in ("--work", each))],
            cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        self.found["engine"] = [json.loads(line) for line in done.stdout.splitlines()]
        for each in self.found["engine"]:
            self.say(f"{each['height']}x{each['width']} K={each['clip']}: {each['engine']:.1f} pairs a second")

    def setting(self, setting: Setting) -> None:
        """All workloads of one setting; of the first, cameras and overload too."""
        if self.late(f"the setting {setting}"):
            return
        self.say(f"setting: {setting}")
        with Gpus() as gpus, served(self.plan, setting) as server, Sampler(server, gpus, setting.nodes) as sampler:
            self.say("the server is ready")
            for workload in self.plan.workloads_of(setting):
                if not self.late(f"{workload}, {setting}"):
                    self.workload(server, sampler, setting, workload)
            if setting == self.plan.settings[0]:
                self.cameras(server, sampler, setting)
                self.overload(server, setting)

    def workload(self, server: Server, sampler: Sampler, setting: Setting, workload: Workload) -> None:
        """One workload, step by step."""
        self._add("sweep", sampler, setting, workload, self.locust(server, _steps(setting, workload, workload.users)))

    def cameras(self, server: Server, sampler: Sampler, setting: Setting) -> None:
        """Do as many cameras as the sweep promises really get their frames in time? A few less, and a few more, too."""
        promised = held_cameras(self.found["rows"], setting, self.plan.camera_rate)
        if promised is None or self.late("cameras"):
            return
        row, cameras = promised
        workload = Workload(row["height"], row["width"], 2, row["format"], ())
        counts = sorted({max(1, round(cameras * share)) for share in (0.75, 1.0, 1.25)})
        options = [*_steps(setting, workload, counts), "--gain", "-1", "--rate", str(self.plan.camera_rate)]
        self._add("cameras", sampler, setting, workload, self.locust(server, options))

    def overload(self, server: Server, setting: Setting) -> None:
        """Twice what it can do."""
        if not self.plan.overload_seconds or self.late("overload"):
            return
        workload = self.plan.workloads[0]
        knee = saturated_pairs(self.found["rows"], setting, workload)
        self.say(f"overload: {2 * knee:.1f} pairs a second offered")
        self.found["overload"] = overload(server, workload, 2 * knee, self.plan, self.locust)
        self.save()

    def locust(self, server: Server, options: Sequence[str]) -> list[Phase]:
        """Run Locust; the phases that it measured."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "phases.jsonl"
            plan = self.plan
            command = [sys.executable, "-m", "locust", "-f", "loadtest/", "--headless", "--only-summary"]
            command += ["--host", server.url, "--key-file", str(server.tokens.path), "--phases-file", str(file)]
            command += ["--phase-seconds", str(plan.phase_seconds), "--settle-seconds", str(plan.settle_seconds)]
            if plan.processes > 1:
                command += ["--processes", str(plan.processes)]
            log = server.logs / "locust.log"
            command += options
            with log.open("ab") as sink, running(command, cwd=PROJECT, stdout=sink, stderr=sink) as process:
                code = process.wait(3600)
            phases = [Phase(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
            if not phases:
                raise RuntimeError(f"Locust measured nothing (exit code {code}):\n{_tail(log)}")
            if any(phase.failures() for phase in phases):
                told = log.read_text(errors="replace").rpartition("Error report")[2]
                self.say(f"failures, as Locust tells them:{told}")
            return phases

    def _add(self, kind: str, sampler: Sampler, setting: Setting, workload: Workload, phases: Sequence[Phase]) -> None:
        for phase in phases:
            row = {
                "kind": kind,
                **{key: value for key, value in vars(setting).items() if key != "more"},
                "setting": str(setting),
                "height": workload.height,
                "width": workload.width,
                "clip": workload.clip,
                "format": workload.format,
                "users": phase.users,
                "seconds": phase.seconds,
                "pairs_a_second": phase.frames_per_second(),
                **{key: phase.row("FRAME").get(key) for key in ("p50_ms", "p95_ms", "p99_ms")},
                "failures": phase.failures(),
                "late": phase.share_late(),
                "generator_cpu": phase.generator_cpu,
                **sampler.between(phase.began, phase.ended),
            }
            self.found["rows"].append(row)
            self.say(
                f"{kind} {workload}: {phase.users} users, {row['pairs_a_second']:.2f} pairs a second, "
                f"p95 {row['p95_ms'] or float('nan'):.0f} ms, {row['failures']} failures"
            )
        self.save()


@contextmanager
def served(plan: Plan, setting: Setting) -> Iterator[Server]:
    """A server with this setting, in a folder of its own; stopped in the end."""
    with tempfile.TemporaryDirectory(prefix="capacity-") as folder:
        store = Path(folder) / "store"
        packed = subprocess.run(
            [str(PROJECT / "archive.sh"), "--output", str(store), *plan.archive_options(setting)],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if packed.returncode:
            raise RuntimeError(f"archive.sh failed: {packed.stderr}")
        server = Server(store, Path(folder) / "server", "free", {"disable_system_metrics": True})
        try:
            server.start(timeout=300)
            yield server
        finally:
            server.stop()


def _steps(setting: Setting, workload: Workload, users: Sequence[int]) -> list[str]:
    """Locust's options for a workload step by step; what is unanswered in the end is waited for, or the server would
    draw it in what comes next."""
    steps = ["--shape", "steps", "--steps", ",".join(map(str, users)), "--stop-timeout", "120"]
    return [*workload.locust_options(), "--route", setting.route, *steps]


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-30:])


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
        help="without an ending (default: %(default)s)",
    )
    add("--from", dest="again", type=Path, metavar="OUT.json", help="measure nothing, make the report anew")
    add("--checkpoint", type=Path, default=PROJECT / "weights" / "demo")
    add("--precision", default="fp32")
    split = "encoders, decoders, decoder_gpus=1/0, handoff"
    known = f"batch, delay, threads, {split} or, with topology=fused, fused_workers; or a dotted one (archive.sh --set)"
    add(
        "--setting",
        action="append",
        metavar="KEY=VALUE,...",
        help=f"{known}; may be repeated (default: {len(SETTINGS)} of them)",
    )
    add(
        "--workload",
        action="append",
        metavar="HEIGHTxWIDTH,K=K,FORMAT,users=A/B/C",
        help="may be repeated; the first setting is measured by all of them",
    )
    add(
        "--compare",
        type=int,
        default=2,
        help="the other settings are measured by the first so many workloads (default: %(default)s)",
    )
    add(
        "--phase-seconds",
        type=float,
        default=60.0,
        help="that a step is measured: several times as long as a clip takes (default: %(default)s)",
    )
    add("--settle-seconds", type=float, default=4.0, help="before that (default: %(default)s)")
    add("--engine-seconds", type=float, default=10.0, help="that the engine is measured (default: %(default)s)")
    add("--processes", type=int, default=1, help="that make the load (default: %(default)s)")
    add("--latency-target", type=float, default=1.0, help="seconds that 19 of 20 pairs may take (default: %(default)s)")
    add("--camera-rate", type=float, default=2.0, help="pairs a second of a camera (default: %(default)s)")
    add(
        "--overload-seconds",
        type=float,
        default=30.0,
        help="of twice what the server can do; 0: none (default: %(default)s)",
    )
    add("--limit-seconds", type=float, default=3600.0, help="begin nothing after so long (default: %(default)s)")
    add("--warm", action="store_true", help="have workers be ready for the sizes before they serve (a GPU's graphs)")
    return parser.parse_args()


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
