"""Measures a live pair's time while clips keep a server busy, and a refusal's time under twice the server's capacity.

    python -m bench.urgency --server http://127.0.0.1:8080 --key-file run/server/key_file.json --route fused

The callers are threads of this process, on the same machine as the server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from bench import machine
from eden_client.api.routes import DECODER, ENCODER, FUSED_PATH, LIVE_PATH, WORKFLOW_PATH
from loadtest._film import Film, Scene
from media.signals import exit_when_told_to

PATHS = {"fused": FUSED_PATH, "workflow": WORKFLOW_PATH, "live": LIVE_PATH}
ROUTES = (*PATHS, "chain")
MOST = 300.0
"""Seconds that a call may take."""


class Caller:
    """Sends pairs and clips of one film. Every thread has a connection of its own."""

    def __init__(self, server: str, key_file: Path, height: int, width: int, length: int) -> None:
        self._server, self._own = server, threading.local()
        token = json.loads(key_file.read_text())["inference"]["key"]
        self._headers = {"Authorization": f"Bearer {token}", "X-Eden-Format": "jpeg"}
        film = Film.draw(Scene(5, height, width), 16, "jpeg")
        self.pairs = length - 1
        """pairs of a whole clip"""
        self._pair, self._clip = (next(film.clips(count, 1)) for count in (2, length))

    def send(self, route: str, priority: str, whole: bool = False) -> tuple[int, float]:
        """Send a pair, or a whole clip. Returns the status code (200: frames came), and the seconds that it took."""
        clip = self._clip if whole else self._pair
        headers = self._headers | {"Content-Type": clip.content_type, "X-Eden-Priority": priority}
        began = time.perf_counter()
        code, answer = self._post(f"/predictions/{ENCODER}" if route == "chain" else PATHS[route], clip.body, headers)
        if route == "chain" and code == 200:
            octets = self._headers | {"Content-Type": "application/octet-stream"}
            code, answer = self._post(f"/predictions/{DECODER}", answer, octets)
        return code, time.perf_counter() - began

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        reply = self._own.session.post(self._server + path, data=body, headers=headers, timeout=MOST)
        told = json.loads(reply.content)["code"] if reply.content.startswith(b"{") else reply.status_code
        return int(told), reply.content


def together(work: Callable[[], None], count: int, until: Callable[[], bool]) -> list[threading.Thread]:
    """Start `count` threads that repeat `work` until `until` returns true."""

    def repeat() -> None:
        while not until():
            work()

    threads = [threading.Thread(target=repeat, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Percentiles in milliseconds, and the number of values."""
    in_order = sorted(seconds)
    at = {
        f"p{part}_ms": round(1e3 * in_order[min(len(in_order) - 1, len(in_order) * part // 100)], 1)
        for part in (50, 95)
    }
    return {"count": len(in_order), **at}


def live_pairs(caller: Caller, route: str, live: str, seconds: float, clips: int) -> dict[str, object]:
    """Measure live pairs by the route `live`, one after another: alone, then beside `clips` callers of clips."""

    def measured() -> list[float]:
        taken, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            code, took = caller.send(live, "live")
            assert code == 200, code
            taken.append(took)
        return taken

    for _ in range(5):
        caller.send(live, "live")
    alone = measured()
    done = threading.Event()
    answered: list[int] = []
    threads = together(lambda: answered.append(caller.send(route, "batch", whole=True)[0]), clips, done.is_set)
    time.sleep(min(10.0, seconds))
    before, began = len(answered), time.monotonic()
    beside = measured()
    codes = answered[before:]
    rate = caller.pairs * codes.count(200) / (time.monotonic() - began)
    done.set()
    for thread in threads:
        thread.join()
    times = statistics.median(beside) / statistics.median(alone)
    busy = {"clips_pairs_per_s": round(rate, 2), "clips_refused": len(codes) - codes.count(200)}
    return {"alone": percentiles(alone), "beside_clips": percentiles(beside), "times": round(times, 2), **busy}


def refusals(caller: Caller, route: str, seconds: float, callers: int) -> dict[str, object]:
    """Measure refusals at twice the rate that eight callers get, shared among `callers`."""
    done: list[tuple[int, float]] = []
    end = time.monotonic() + seconds
    for thread in together(lambda: done.append(caller.send(route, "interactive")), 8, lambda: time.monotonic() > end):
        thread.join()
    capacity = sum(code == 200 for code, _ in done) / seconds
    period = callers / (2 * capacity)
    seen: list[tuple[int, float]] = []

    began, end = time.monotonic(), time.monotonic() + 2 * seconds

    def paced(number: int) -> None:
        due = began + period * number / callers
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            seen.append(caller.send(route, "interactive"))
            due = max(due + period, time.monotonic())

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(paced, range(callers)))
    refused = [took for code, took in seen if code == 503]
    answered = [took for code, took in seen if code == 200]
    others = len(seen) - len(refused) - len(answered)
    return {
        "capacity_pairs_per_s": round(capacity, 2),
        "callers": callers,
        "answered": percentiles(answered) if answered else None,
        "refused": percentiles(refused) if refused else None,
        "other_errors": others,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.urgency", description=__doc__)
    add = parser.add_argument
    add("--server", default="http://127.0.0.1:8080", help="the inference address (default: %(default)s)")
    key_file = Path("run/server/key_file.json")
    add("--key-file", type=Path, default=key_file, help="TorchServe's key file (default: %(default)s)")
    add("--route", choices=ROUTES, default="fused", help="where clips and the overload are sent (default: %(default)s)")
    add("--live-route", choices=ROUTES, help="where live pairs are sent (default: as --route)")
    add("--size", default="128x192", metavar="HxW", help="frame size in pixels (default: %(default)s)")
    add("--seconds", type=float, default=20.0, help="seconds for which each step is measured (default: %(default)s)")
    add("--clips", type=int, default=8, help="callers of clips besides the live pairs (default: %(default)s)")
    add("--length", type=int, default=9, help="frames per clip (default: %(default)s)")
    add("--callers", type=int, default=96, help="callers of pairs in the overload (default: %(default)s)")
    add("--only", choices=("live", "refusals"), help="make only one of the two measurements (default: both)")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    caller = Caller(args.server.rstrip("/"), args.key_file, height, width, args.length)
    found: dict[str, object] = {"machine": machine.describe(), "route": args.route, "size": args.size}
    if args.only != "refusals":
        live = args.live_route or args.route
        found["live_pairs"] = {"route": live, **live_pairs(caller, args.route, live, args.seconds, args.clips)}
    if args.only != "live":
        found["refusals"] = refusals(caller, args.route, args.seconds, args.callers)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    exit_when_told_to()
    main()
