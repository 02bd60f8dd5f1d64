"""Runs a plan: starts a server per setting, sends it the workloads, and keeps the results."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.capacity.overload import overload
from bench.capacity.plan import Plan, Setting, Workload
from bench.capacity.samples import Gpus, Sampler
from bench.capacity.verdict import held_cameras, saturated_pairs
from bench.processes import running
from loadtest._phases import Phase
from server import Server
from server.settings import PROJECT


class Run:
    """A run of a plan. Its results are saved after every workload."""

    def __init__(self, plan: Plan, found: dict[str, Any]) -> None:
        self.plan, self.found, self.began = plan, found, time.monotonic()

    def save(self) -> None:
        """Write OUT.json."""
        self.plan.out.with_suffix(".json").write_text(json.dumps(self.found, indent=1))

    def say(self, text: str) -> None:
        """Print a line of progress, with the seconds so far."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def late(self, what: str) -> bool:
        """Whether no time is left to begin something; it is then listed as left out."""
        if time.monotonic() - self.began < self.plan.limit_seconds:
            return False
        self.say(f"no time left for {what}")
        self.found["left_out"].append(what)
        return True

    def engine(self) -> None:
        """Measure the same work without a server."""
        self.say("one process, no server")
        batch = self.plan.settings[0].batch
        work = [
            f"{w.height}x{w.width},{w.clip},{w.format},{batch if w.strategy == 'streaming' else 1}"
            for w in self.plan.workloads
        ]
        command = [sys.executable, "-m", "bench.capacity.engine", str(self.plan.checkpoint)]
        command += ["--precision", self.plan.precision, "--seconds", str(self.plan.engine_seconds)]
        done = subprocess.run(
            [*command, *(part for each in dict.fromkeys(work) for part in ("--work", each))],
            cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        self.found["engine"] = [json.loads(line) for line in done.stdout.splitlines()]
        for each in self.found["engine"]:
            self.say(f"{each['height']}x{each['width']} K={each['clip']}: {each['engine']:.1f} pairs per second")

    def setting(self, setting: Setting) -> None:
        """Measure all workloads of a setting; for the first setting, also cameras and overload."""
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
        """Measure a workload, step by step."""
        self._add("sweep", sampler, setting, workload, self.locust(server, _steps(setting, workload, workload.users)))

    def cameras(self, server: Server, sampler: Sampler, setting: Setting) -> None:
        """Measure whether as many cameras as the steps suggest get their frames in time; also a few less and more."""
        promised = held_cameras(self.found["rows"], setting, self.plan.camera_rate)
        if promised is None or self.late("cameras"):
            return
        row, cameras = promised
        workload = Workload(row["height"], row["width"], 2, row["format"], ())
        counts = sorted({max(1, round(cameras * share)) for share in (0.75, 1.0, 1.25)})
        options = [*_steps(setting, workload, counts), "--gain", "-1", "--rate", str(self.plan.camera_rate)]
        self._add("cameras", sampler, setting, workload, self.locust(server, options))

    def overload(self, server: Server, setting: Setting) -> None:
        """Measure under twice the load that the server can answer."""
        if not self.plan.overload_seconds or self.late("overload"):
            return
        workload = self.plan.workloads[0]
        knee = saturated_pairs(self.found["rows"], setting, workload)
        self.say(f"overload: {2 * knee:.1f} pairs per second offered")
        self.found["overload"] = overload(server, workload, 2 * knee, self.plan, self.locust)
        self.save()

    def locust(self, server: Server, options: Sequence[str]) -> list[Phase]:
        """Run Locust. Returns the phases that it measured."""
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
                f"{kind} {workload}: {phase.users} users, {row['pairs_a_second']:.2f} pairs per second, "
                f"p95 {row['p95_ms'] or float('nan'):.0f} ms, {row['failures']} failures"
            )
        self.save()


@contextmanager
def served(plan: Plan, setting: Setting) -> Iterator[Server]:
    """A context with a server of this setting, in a folder of its own."""
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
    """Locust's options for a workload in steps. Unanswered calls are waited for at the end: else the server would still
    draw them during the next measurement."""
    steps = ["--shape", "steps", "--steps", ",".join(map(str, users)), "--stop-timeout", "120"]
    return [*workload.locust_options(), "--route", setting.route, *steps]


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-30:])
