"""Runs a server under mixed load and faults, checks that every call is answered or refused correctly, looks for leaks.

    python -m bench.soak --minutes 65 --out bench/results/soak-cpu

Starts a server with both topologies, two workers of the encoder and of the fused model, one of the decoder, and a small
random network on the CPU. The load mixes good calls by every route and transport, whose answers are compared with a
reference, hostile calls, calls that are abandoned, calls with deadlines that cannot be met, and films by the command.
Every `--kill-every` seconds a worker is killed (SIGKILL), but never the oldest of a model with two. OUT.json, OUT.md
and OUT.png are written every five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests

from bench import machine
from bench.soak import films, report
from bench.soak.calls import Calls
from bench.soak.record import Kill, Record
from bench.soak.rude import Rude
from bench.soak.samples import Sampler, Worker, heap_after_collections, workers
from eden.random_weights import write_random
from media.signals import exit_when_told_to
from server import Server
from server.settings import PROJECT

GOOD = 0.7
"""Share of all calls that are good ones; the others are rude."""
SIDE_BY_SIDE = 12
"""Most calls that are under way at once. A call that comes due meanwhile is not made, only counted."""
RETURN_S = 300.0
"""Seconds within which a new worker must be ready in place of a killed one."""
WRITE_S = 300.0
"""Seconds between two reports."""
STORE = ("--topology", "both", "--encoder-workers", "2", "--fused-workers", "2", "--batch-size", "4")


class Soak:
    """One run against a server that has started."""

    def __init__(self, args: argparse.Namespace, server: Server, folder: Path, shared: Path) -> None:
        self.args, self.server, self.folder = args, server, folder
        self.random = random.Random(args.seed)
        self.record = Record()
        self.calls = Calls(server, shared, self.record, args.seed)
        self.rude = Rude(server, shared, self.record, self.calls.clips, args.seed)
        self.record.began, self.began = time.monotonic(), time.time()
        self.sampler = Sampler(server, shared, self.record, args.every)
        self.spared = spared(workers(server))
        self.over = threading.Event()

    def run(self) -> None:
        """Call, kill and make films until the time is over. Errors are recorded as faults, not raised."""
        others = [threading.Thread(target=each) for each in (self._kill, self._films, self._write)]
        with self.sampler, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for thread in others:
                thread.start()
            try:
                self._call(pool)
            finally:
                self.over.set()
                for thread in others:
                    thread.join()
        self.calls.close()

    def found(self) -> dict[str, Any]:
        """The results so far, as OUT.json holds them."""
        return {
            "machine": machine.describe(),
            "minutes": round(self.record.now() / 60, 1),
            "settings": {key: getattr(self.args, key) for key in ("rate", "kill_every", "film_every", "every", "seed")},
            "record": self.record.as_json(),
            "spared": sorted(self.spared),
            "samples": list(self.sampler.rows),
            "heap": heap_after_collections(self.folder / "gc.log", self.began),
            "java_threads_by_name": self.sampler.by_name,
        }

    def _call(self, pool: ThreadPoolExecutor) -> None:
        """Make calls at random times, --rate per second on average, whether or not earlier ones have been answered."""
        under_way: list[Future[None]] = []
        end = time.monotonic() + 60 * self.args.minutes
        due = time.monotonic()
        while (due := due + self.random.expovariate(self.args.rate)) < end:
            time.sleep(max(0.0, due - time.monotonic()))
            under_way = [each for each in under_way if not each.done()]
            call = self.calls.make() if self.random.random() < GOOD else self.rude.make()
            if len(under_way) < SIDE_BY_SIDE:
                under_way.append(pool.submit(self._safely, call))
            else:
                self.record.left_out += 1

    def _safely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # nothing that a call meets may end the run
            self.record.add_fault("the soak itself", f"{type(error).__name__}: {error}")

    def _kill(self) -> None:
        watching: list[threading.Thread] = []
        while not self.over.wait(self.args.kill_every):
            try:
                victims = [each for each in workers(self.server) if each.process.pid not in self.spared]
                victim = self.random.choice(victims)
                kill = self.record.add_kill(victim.model, victim.process.pid)
                victim.process.kill()
            except (requests.RequestException, psutil.Error, IndexError) as error:
                self.record.add_answer("server, kill", type(error).__name__)
                continue
            watching.append(threading.Thread(target=self._see_back, args=(kill,)))
            watching[-1].start()
        for thread in watching:
            thread.join()

    def _see_back(self, kill: Kill) -> None:
        """Record when all workers of the killed one's model are ready again."""
        deadline = time.monotonic() + RETURN_S
        while time.monotonic() < deadline:
            time.sleep(0.5)
            with contextlib.suppress(requests.RequestException):
                states = [(each["pid"], each["status"]) for each in self.server.api.workers(kill.model)]
                if all(status == "READY" and pid != kill.pid for pid, status in states):
                    kill.back_s = round(self.record.now(), 1)
                    return
        self.record.add_fault(kill.model, f"no worker in the place of {kill.pid} within {RETURN_S:.0f} s")

    def _films(self) -> None:
        film = films.Films(self.server, self.folder, self.calls.clips[0], self.record)
        while not self.over.wait(self.args.film_every):
            self._safely(film.make)

    def _write(self) -> None:
        while not self.over.wait(WRITE_S):
            self.sampler.note_names()
            report.write(self.args.out, self.found())


def spared(alive: list[Worker]) -> set[int]:
    """Process ids of workers that are never killed, so that they can be sampled over the whole run.

    These are the oldest worker of each model that has several.
    """
    of_model: dict[str, list[Worker]] = {}
    for worker in sorted(alive, key=lambda worker: worker.process.create_time()):
        of_model.setdefault(worker.model, []).append(worker)
    return {each[0].process.pid for each in of_model.values() if len(each) > 1}


def pack(folder: Path, shared: Path) -> Path:
    """Pack a small network of random numbers. Returns the model store. Raises SystemExit: packing failed.

    shared  the folder in which regions and payloads in shared memory lie
    """
    write_random(folder / "weights")
    settings = ("threads=1", f"regions={shared}", f"handoff.shared_folder={shared}")
    command: list[str | Path] = [PROJECT / "archive.sh", "--output", folder / "store", "--in-place"]
    command += ["--checkpoint", folder / "weights", *STORE, *(part for each in settings for part in ("--set", each))]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise SystemExit(built.stderr)
    return folder / "store"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=65, help="minutes of load (default: %(default)s)")
    add("--rate", type=float, default=1.5, help="calls per second (default: %(default)s)")
    add("--kill-every", type=float, default=60, help="seconds between kills of a worker (default: %(default)s)")
    add("--film-every", type=float, default=300, help="seconds between films (default: %(default)s)")
    add("--every", type=float, default=10, help="seconds between samples (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of the mix of calls (default: %(default)s)")
    add("--folder", type=Path, help="new folder for the server, which keeps its logs (default: a temporary one)")
    out = Path("bench/results/soak-cpu")
    add("--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if args.folder:
            args.folder.mkdir()
        folder = (args.folder or _temporary(stack, None)).absolute()
        shared = _temporary(stack, "/dev/shm")
        options = os.environ.get("JDK_JAVA_OPTIONS", "")
        os.environ["JDK_JAVA_OPTIONS"] = f"{options} -Xlog:gc:file={folder / 'gc.log'}:time:filecount=0".strip()
        server = stack.enter_context(Server(pack(folder, shared), folder / "server", ports="free"))
        soak = Soak(args, server, folder, shared)
        try:
            soak.run()
        finally:
            found = soak.found()
            report.write(args.out, found)
    print(report.markdown(found))
    return 1 if found["record"]["faults"] else 0


def _temporary(stack: contextlib.ExitStack, where: str | None) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eden-soak-", dir=where)))


if __name__ == "__main__":
    exit_when_told_to()
    sys.exit(main())
