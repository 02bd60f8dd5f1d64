"""Measures films on Ray on one machine: after a node is killed, Ray's overhead, and the driver's cost per job.

    make install-cluster && python -m bench.cluster

A server of the fused topology, with a small random network, draws on the same cores. There are three parts:

killed   three nodes make a film; one is killed (kill -9) in its middle, and another is added. The file must be equal,
         byte for byte, to the one that this machine makes without Ray
overhead processes of this machine, and one node with as many processors, make the same film in turn
driver   CPU seconds and bytes per segment job in the process that plans, sends and joins, without a model

OUT.json and OUT.md are written after each part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil

from bench import machine
from bench.capacity.plan import Setting
from bench.cluster import report
from bench.cluster.nodes import Node, Nodes
from bench.film.alone import Silent
from bench.film.instant import instant_client
from bench.film.model import START_S
from bench.processes import running
from bench.strategies import film_frames
from bench.topologies import served
from bench.topologies.plan import FUSED, QUICK_PLAN, Serving
from eden.random_weights import write_random
from eden_client import EdenClient
from eden_client.film.cluster.ray_cluster import FilmOnCluster, RayCluster
from eden_client.film.executor import Observer
from eden_client.film.jobs import SegmentJob
from eden_client.film.order import Order
from eden_client.film.plan.scouting import ScoutJob
from eden_client.film.read.film import Film
from eden_client.film.run import SCOUTING, interpolate_film
from eden_client.film.segment_maker import FilmTask
from media import encode_video
from media.machine import cores
from media.signals import exit_when_told_to

RATE = Fraction(24)
KILLED_AFTER = 6
"""Segments that must be finished before the node is killed."""
PATIENCE = 1800.0
"""Seconds that a command may take."""


class Run:
    """The measurements that the options ask for, and the results so far."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.found: dict[str, Any] = {"machine": machine.describe(), "size": args.size, "frames": args.frames}
        self.found["loads"] = dict.fromkeys(args.parts, 0.0)

    def all(self) -> None:
        """Make the measurements."""
        if "driver" in self.args.parts:
            self.add("driver", self.driver)
        if not {"killed", "overhead"} & set(self.args.parts):
            return
        with serving(self.folder) as server:
            local = ["--processes", str(cores()), *server]
            self.warm(local)
            if "killed" in self.args.parts:
                self.add("killed", lambda: self.killed(self.film(self.args.frames), server, local))
            if "overhead" in self.args.parts:
                film = self.film(self.args.overhead_frames)
                self.add("overhead", lambda: self.overhead(film, server, local))

    def film(self, frames: int) -> Path:
        """Write a film of so many frames."""
        path = self.folder / f"{frames}.mp4"
        height, width = map(int, self.args.size.split("x"))
        encode_video(list(film_frames(frames, height, width)), RATE, path)
        return path

    def warm(self, options: list[str]) -> None:
        """Make a film that is not measured: a server's first calls and a node's first tasks are slower."""
        command(self.film(97), self.folder / "warm.mp4", options)

    def overhead(self, film: Path, server: list[str], local: list[str]) -> dict[str, Any]:
        """Measure a film by this machine's processes, and by Ray.

        seconds  of the command
        working  from the first frame to the end of the film
        slower   by how much Ray's medians of both are above those of the processes: 0.1 is a tenth
        """
        seconds: dict[str, list[float]] = {"processes": [], "ray": []}
        working: dict[str, list[float]] = {"processes": [], "ray": []}
        told = {}
        with Nodes() as nodes:
            nodes.start_head(cores())
            ray = ["--ray", nodes.address, *server]
            self.warm(ray)
            for number in range(self.args.rounds):
                for way, options in (("processes", local), ("ray", ray)):
                    target = self.folder / f"{way}{number}.mp4"
                    told[way] = command(film, target, options)
                    seconds[way].append(told[way]["wall"])
                    stages = told[way]["seconds"]
                    working[way].append(stages["total"] - stages["to_first_frame"])
                    print(way, round(told[way]["wall"], 2), flush=True)
        slower = [
            statistics.median(each["ray"]) / statistics.median(each["processes"]) - 1 for each in (seconds, working)
        ]
        return {
            "seconds": seconds,
            "working": working,
            "slower": slower,
            "frames": told["ray"]["frames_out"],
            "same": digest(self.folder / "processes0.mp4") == digest(self.folder / "ray0.mp4"),
        }

    def killed(self, film: Path, server: list[str], local: list[str]) -> dict[str, Any]:
        """Kill a node while it works on a film, and compare the result with that of this machine without Ray."""
        reference = self.folder / "reference.mp4"
        alone = command(film, reference, local)
        target = self.folder / "killed.mp4"
        with Nodes() as nodes:
            nodes.start_head(1)
            second, _ = nodes.add(1), nodes.add(1)
            wait_for_nodes(nodes.address, 3)
            arguments = [sys.executable, "-m", "eden_client", str(film), str(target), "--json", "--ray", nodes.address]
            with (self.folder / "told").open("w+") as told, (self.folder / "json").open("w+") as summary:
                begun = time.monotonic()
                with running([*arguments, *server], stdout=summary, stderr=told) as process:
                    done = wait_for_segments(target, KILLED_AFTER, process)
                    killed = time.monotonic() - begun
                    second.kill()
                    nodes.add(1)
                    code = process.wait(PATIENCE)
                seconds = time.monotonic() - begun
                told.seek(0)
                notes = [line.strip() for line in told if "note:" in line]
        return {
            "code": code,
            "alone_s": alone["wall"],
            "seconds": seconds,
            "killed_after_s": killed,
            "segments_done": done,
            "notes": notes,
            "frames": json.loads((self.folder / "json").read_text())["frames_out"] if code == 0 else None,
            "same": code == 0 and digest(reference) == digest(target),
        }

    def driver(self) -> list[dict[str, Any]]:
        """Measure what a job costs, for each frame size."""
        rows = []
        for size in self.args.driver_sizes:
            height, width = map(int, size.split("x"))
            film = self.folder / f"{size}.mp4"
            encode_video(list(film_frames(self.args.driver_frames, height, width)), RATE, film)
            with Nodes() as nodes:
                head = nodes.start_head(cores())
                rows.append({"size": size, **measured(film, self.folder / f"{size}-out.mp4", nodes.address, head)})
                print(json.dumps(rows[-1]), flush=True)
        return rows

    def add(self, part: str, measure: Callable[[], Any]) -> None:
        """Measure a part, and write all results so far."""
        self.found["loads"][part] = os.getloadavg()[0]
        self.found[part] = found = measure()
        print(json.dumps({part: found}), flush=True)
        report.write(self.args.out, self.found)


@contextmanager
def serving(folder: Path) -> Iterator[list[str]]:
    """A running server. Yields the command's options that name it.

    It draws each call in a batch of its own: rounding depends on what is computed together, and so on which calls come
    at the same time. It uses one thread, since other processes need the cores too.
    """
    write_random(folder / "weights")
    alone = Serving(FUSED, Setting(topology="fused", batch=1, delay=1, more=("threads=1",)))
    served.pack(alone, QUICK_PLAN, folder / "weights", "fp32", folder / "store")
    with served.started(folder / "store", folder / "server", START_S) as server:
        yield ["--server", server.url, "--key-file", str(server.tokens.path)]


def command(film: Path, target: Path, options: list[str]) -> dict[str, Any]:
    """Run eden-interpolate. Returns its summary and `wall`, its seconds with its start. Raises CalledProcessError."""
    arguments = [sys.executable, "-m", "eden_client", str(film), str(target), "--json", "--overwrite", *options]
    begun = time.perf_counter()
    done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
    return {**json.loads(done.stdout), "wall": time.perf_counter() - begun}


def wait_for_nodes(address: str, count: int) -> None:
    """Wait until a cluster has so many nodes."""
    cluster = RayCluster(address, Connecting())
    while len(cluster.nodes()) < count:
        time.sleep(0.1)
    cluster.close()


def wait_for_segments(target: Path, count: int, process: subprocess.Popen[Any]) -> int:
    """Wait until a film's journal has `count` segments, or its process ends. Returns how many it has."""
    journal, found = target.with_name(f"{target.name}.parts") / "journal.json", 0
    while found < count and process.poll() is None:
        time.sleep(0.05)
        found = len(json.loads(journal.read_text())["segments"]) if journal.exists() else 0
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Connecting:
    """Makes the clients of nodes: they need no server."""

    def __call__(self, number: int) -> EdenClient:
        return instant_client()


class Counting(RayCluster):
    """A cluster that counts jobs, the bytes that are sent to it and come back, and the driver's processor time."""

    def __init__(self, address: str) -> None:
        super().__init__(address, Connecting())
        self.jobs, self.sent, self.back, self.head = 0, 0, 0, 0
        self.cutting = self.planning = self.working = 0.0
        self.ended: float | None = None

    def put(self, value: Any) -> Any:
        self.head += len(pickle.dumps(value)) if isinstance(value, list) else 0
        return super().put(value)

    def make(self, film: Any, head: Any, job: SegmentJob, sent: Any, tell: Callable[[Any], None]) -> Any:
        self.jobs += 1
        self.sent += len(pickle.dumps((job, sent)))

        def told(answer: Any) -> None:
            self.back += sum(map(len, answer.files.values()))
            tell(answer)

        return super().make(film, head, job, sent, told)

    def executor(self, film: Film, order: Order, trace: Any) -> FilmOnCluster:
        executor = super().executor(film, order, trace)
        run, cut = executor.run, executor._excerpts.cut

        def timed_cut(job: SegmentJob) -> Any:
            begun = time.thread_time()
            try:
                return cut(job)
            finally:
                self.cutting += time.thread_time() - begun

        def timed_run(task: FilmTask, jobs: Iterator[SegmentJob], observer: Observer) -> None:
            run(task, jobs, observer)
            self.ended = time.process_time()

        executor._excerpts.cut = timed_cut  # type: ignore[method-assign]
        executor.run = timed_run  # type: ignore[method-assign]
        return executor


class Enough(Exception):
    """Ends a run after its plan: nothing is to be made."""


class Planning:
    """A cluster that makes nothing. `scouts`: a cluster that compares the film's frames; None: this process does."""

    side_by_side = 1

    def __init__(self, scouts: RayCluster | None = None) -> None:
        self._scouts, self.jobs, self.stretches = scouts, 0, 0
        self.at_once = SCOUTING if scouts else 1

    def executor(self, film: Film, order: Order, trace: Any) -> Any:
        self._executor = self._scouts.executor(film, order, trace) if self._scouts else None
        return self

    def scout(self, job: ScoutJob) -> Any:
        """Wait for the scout: only this process's time is measured, however slow the nodes are."""
        assert self._executor
        self.stretches += 1
        found = self._executor.scout(job)
        futures.wait([found])
        return found

    def run(self, task: FilmTask, jobs: Iterator[SegmentJob], observer: Observer) -> None:
        self.jobs = sum(1 for _ in jobs)
        raise Enough


def measured(film: Path, target: Path, address: str, head: Node) -> dict[str, Any]:
    """Measure processor time and bytes per job, of the driver, of Ray's own processes and of its workers."""
    order = Order(str(film), str(target), overwrite=True)
    cluster = Counting(address)
    try:
        interpolate_film(order, instant_client(), Silent(), None, cluster)  # which starts the workers
        planned, _ = planning(order, Planning())
        scouted, stretches = planning(order, Planning(cluster))
        cluster.jobs = cluster.sent = cluster.back = cluster.head = 0
        cluster.cutting = 0.0
        of_ray, of_workers = processor_time(head)
        before, begun = time.process_time(), time.perf_counter()
        summary = interpolate_film(order, instant_client(), Silent(), None, cluster)
        whole, seconds = time.process_time() - before, time.perf_counter() - begun
        assert cluster.ended is not None
        joined = before + whole - cluster.ended
        after_ray, after_workers = processor_time(head)
    finally:
        cluster.close()
    jobs = cluster.jobs
    return {
        "jobs": jobs,
        "frames": summary.frames_out,
        "stretches": stretches,
        "seconds": seconds,
        "cpu_ms_per_job": {
            "planning": 1e3 * planned / jobs,
            "planning, nodes comparing": 1e3 * scouted / jobs,
            "cutting": 1e3 * cluster.cutting / jobs,
            "joining": 1e3 * joined / jobs,
            "sending, receiving, journal": 1e3 * (whole - planned - cluster.cutting - joined) / jobs,
            "Ray's own processes": 1e3 * (after_ray - of_ray) / jobs,
            "workers": 1e3 * (after_workers - of_workers) / jobs,
        },
        "bytes_per_job": {"sent": cluster.sent / jobs, "back": cluster.back / jobs},
        "bytes_of_head": cluster.head,
        "source_bytes": film.stat().st_size,
    }


def planning(order: Order, by: Planning) -> tuple[float, int]:
    """Plan a film. Returns the seconds of this process's processor time, and the stretches that nodes compared."""
    before = time.process_time()
    with suppress(Enough):
        interpolate_film(order, instant_client(), Silent(), None, by)
    return time.process_time() - before, by.stretches


def processor_time(node: Node) -> tuple[float, float]:
    """Seconds of processor time of a node so far: Ray's own processes, and its workers."""
    own = workers = 0.0
    for each in node.processes():
        try:
            name, times = each.name(), each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        is_worker = name.startswith("ray::") and "Agent" not in name
        own += 0.0 if is_worker else times.user + times.system
        workers += times.user + times.system if is_worker else 0.0
    return own, workers


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    parts = ["driver", "overhead", "killed"]
    add("--parts", nargs="+", choices=parts, default=parts, help="measurements to make: see above (default: all)")
    add("--size", default="256x448", metavar="HxW", help="frame size of the films in pixels (default: %(default)s)")
    add("--frames", type=int, default=1000, help="frames of the source, for killed (default: %(default)s)")
    add("--overhead-frames", type=int, default=600, help="frames of the source, for overhead (default: %(default)s)")
    add(
        "--rounds",
        type=int,
        default=3,
        help="runs with the cluster, and as many without, for overhead (default: %(default)s)",
    )
    sizes = ["480x854", "1080x1920"]
    add(
        "--driver-sizes",
        nargs="+",
        default=sizes,
        metavar="HxW",
        help=f"frame sizes in pixels, for driver (default: {' '.join(sizes)})",
    )
    add("--driver-frames", type=int, default=960, help="frames of the source, for driver (default: %(default)s)")
    out = Path("bench/results/cluster-cpu")
    add("--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        Run(args, Path(name)).all()


if __name__ == "__main__":
    exit_when_told_to()
    main()
