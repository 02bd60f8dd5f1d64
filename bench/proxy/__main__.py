"""Kills, replaces and drains servers behind HAProxy, under load, and reports what callers noticed.

    apt install haproxy
    python -m bench.proxy --out bench/results/proxy-cpu

Starts three TorchServes (both topologies, one worker each, a small random network on the CPU), HAProxy with
deploy/haproxy.cfg, two Locusts (one sends pairs and clips to the fused model, the other pairs to the workflow and clips
to the chain), whose users never retry, and a caller with eden_client, which does. Then, under load: a whole server is
killed (SIGKILL) and started again; all three are drained and started again, one after the other; one is drained, and
stays away for a while. OUT.json has every call, OUT.md the results, OUT.png the end and duration of each call. It takes
seven minutes and 5 GiB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from bench import machine
from bench.processes import running
from bench.proxy import haproxy, report
from eden.random_weights import write_random
from eden_client import EdenClient
from eden_client.api.errors import EdenError
from loadtest._film import Scene
from media.signals import exit_when_told_to
from server import Server
from server.settings import PROJECT

NOTICE, WITHIN = 3.0, 120.0
"""Seconds of each drain: between its announcement and its beginning, and at most until calls are done."""
UP_WITHIN = 300.0
"""Seconds within which HAProxy must send calls to a server that was started."""


class Run:
    """One run, against servers that have started; each has a name: a, b, c."""

    def __init__(self, args: argparse.Namespace, servers: dict[str, Server], proxy: haproxy.Proxy) -> None:
        self.args, self.servers, self.proxy = args, servers, proxy
        self.began = time.time()
        self.happened: list[tuple[float, str]] = []
        """(seconds since the run began, what happened)"""
        self.up: list[tuple[float, list[str]]] = []
        self.film: list[tuple[float, str, float, str | None]] = []
        """calls by eden_client, in the form of `read_calls`"""
        self.tried_again: list[str] = []
        self.unfinished: list[str] = []
        self.over = threading.Event()

    def now(self) -> float:
        """Seconds since the run began."""
        return round(time.time() - self.began, 2)

    def tell(self, what: str) -> None:
        """Record and print that something happens now."""
        self.happened.append((self.now(), what))
        print(f"{self.now():7.1f} s  {what}", flush=True)

    def play(self) -> None:
        """Kill, start and drain servers in turn, while callers call."""
        pause = self.args.pause
        with ThreadPoolExecutor(3) as beside:
            others = [beside.submit(each) for each in (self._look, self._film_caller)]
            try:
                time.sleep(pause)
                self.kill("b")
                time.sleep(pause)
                self.start("b")
                time.sleep(pause)
                for name in self.servers:
                    self.drain(name)
                    self.start(name)
                time.sleep(pause)
                self.drain("c")
                time.sleep(pause)
                self.start("c")
                time.sleep(pause)
            finally:
                self.over.set()
            for each in others:
                each.result()

    def kill(self, name: str) -> None:
        """Kill (SIGKILL) a server's Java and all its workers, as when its host fails."""
        java = psutil.Process(self.servers[name].java_pid)
        family = [java, *java.children(recursive=True)]
        self.tell(f"{name} killed")
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=60)

    def start(self, name: str) -> None:
        """Start a server, and wait until HAProxy sends it calls. Raises RuntimeError: that takes too long."""
        self.tell(f"{name} starts")
        self.servers[name].start()
        end = time.monotonic() + UP_WITHIN
        while name not in self.proxy.up():
            if time.monotonic() > end:
                raise RuntimeError(f"HAProxy sends no calls to server {name}, which was started {UP_WITHIN:g} s ago")
            time.sleep(0.1)
        self.tell(f"{name} up")

    def drain(self, name: str) -> None:
        """Drain and stop a server."""
        self.tell(f"{name} drained")
        if left := self.servers[name].drain(WITHIN, NOTICE):
            self.unfinished.append(f"{name}: {left}")
        self.tell(f"{name} stopped")

    def _look(self) -> None:
        while not self.over.wait(0.25):
            self.up.append((self.now(), self.proxy.up()))

    def _film_caller(self) -> None:
        """Send clips one after another by eden_client, by the fused model and by the chain in turn."""
        scene = Scene(7, *map(int, self.args.frame_size.split("x")))
        clip = [scene.frame(index) for index in range(5)]
        with contextlib.ExitStack() as stack:
            clients = {
                route: stack.enter_context(
                    EdenClient(
                        self.proxy.url,
                        token=self.proxy.key,
                        route=route,
                        transport="npy",
                        on_trouble=lambda error: self.tried_again.append(str(error)),
                    )
                )
                for route in ("fused", "chain")
            }
            while not self.over.is_set():
                for route, client in clients.items():
                    started, wrong = time.monotonic(), None
                    try:
                        client.interpolate_clip(clip)
                    except EdenError as error:
                        wrong = str(error)
                    self.film.append((time.time(), f"eden_client, {route}", time.monotonic() - started, wrong))


@contextlib.contextmanager
def locust(
    proxy: haproxy.Proxy, route: str, users: dict[str, int], calls: Path, args: argparse.Namespace
) -> Iterator[None]:
    """Locust, whose users call while the block lasts, and write every call into the file `calls`.

    users  their number, by the name of their class
    """
    options = ["--route", route, "--frame-size", args.frame_size, "--send", "jpeg", "--answer", "jpeg", "--clip", "4"]
    options += ["--rate", str(args.rate), "--token", proxy.key, "--host", proxy.url, "--check-every", "10"]
    options += ["--headless", "--only-summary", "-u", str(sum(users.values())), "-r", "10", "--stop-timeout", "120"]
    options += ["--film-frames", "16"]
    command = [sys.executable, "-m", "locust", "-f", "bench/proxy/callers.py", *options, *users]
    log = calls.with_suffix(".log").open("wb")
    with log, running(command, cwd=PROJECT, env=os.environ | {"CALLS_FILE": str(calls)}, stdout=log, stderr=log):
        yield


def pack(folder: Path) -> Path:
    """Pack a small network of random numbers. Returns the model store. Raises SystemExit: packing failed."""
    write_random(folder / "weights")
    command: list[str | Path] = [PROJECT / "archive.sh", "--output", folder / "store", "--in-place"]
    command += ["--checkpoint", folder / "weights", "--topology", "both", "--set", "threads=1"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise SystemExit(built.stderr)
    return folder / "store"


def read_calls(file: Path) -> list[list[Any]]:
    """The calls in a file: [when it ended (Unix time), name, seconds, error or None]."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.proxy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--pause", type=float, default=20, help="seconds between two events (default: %(default)s)")
    add("--frame-size", default="128x192", metavar="HxW", help="frame size in pixels (default: %(default)s)")
    add("--rate", type=float, default=1, help="pairs per second of each camera (default: %(default)s)")
    out = Path("bench/results/proxy-cpu")
    add("--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)")
    args = parser.parse_args()
    if haproxy.PROGRAM is None:
        parser.error("haproxy is not installed (apt install haproxy)")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eden-proxy-")))
        store, env = pack(folder), {"EDEN_HANDOFF_KEY": os.urandom(32).hex()}
        servers = {name: Server(store, folder / name, "free", haproxy.BEHIND, env) for name in "abc"}
        for server in servers.values():
            stack.callback(server.stop)
        with ThreadPoolExecutor(len(servers)) as starting:
            list(starting.map(Server.start, servers.values()))
        ports = {name: server.ports for name, server in servers.items()}
        proxy = stack.enter_context(haproxy.running(ports, folder))
        while len(proxy.up()) < len(servers):
            time.sleep(0.1)
        files = [folder / "fused.jsonl", folder / "split.jsonl"]
        with (
            locust(proxy, "fused", {"StreamingUser": 3, "BatchUser": 2}, files[0], args),
            locust(proxy, "workflow", {"StreamingUser": 2, "ChainUser": 2}, files[1], args),
        ):
            while not all(file.exists() and file.stat().st_size for file in files):
                time.sleep(0.1)
            run = Run(args, servers, proxy)
            run.play()
        calls = [call for file in files for call in read_calls(file)] + [list(each) for each in run.film]
        found = {
            "machine": machine.describe(),
            "settings": {"frame_size": args.frame_size, "rate": args.rate, "notice_s": NOTICE, "within_s": WITHIN},
            "seconds": run.now(),
            "happened": run.happened,
            "up": run.up,
            "unfinished": run.unfinished,
            "tried_again_by_eden_client": run.tried_again,
            "proxy": {name: {key: row[key] for key in ("wretr", "wredis")} for name, row in proxy.servers().items()},
            "calls": sorted([round(at - run.began, 2), what, round(took, 3), wrong] for at, what, took, wrong in calls),
        }
    report.write(args.out, found)
    print(report.markdown(found))
    return 0


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
