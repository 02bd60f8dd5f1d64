"""Does what a visitor of the page does, pairs at the cursor and live pictures, and measures each answer's time."""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from bench.processes import running
from bench.urgency import percentiles
from web.live import DRAWN, STAMP

PATIENCE = 60.0
"""Seconds within which an answer has to come."""
WARM = 3
"""Pairs that are asked for first, and not counted."""


@contextmanager
def service(folder: Path, film_options: Sequence[str]) -> Iterator[str]:
    """Start the service as a process, on a free port. Yields its address. Raises RuntimeError: it ended instead."""
    log = folder / "service.log"
    command = [sys.executable, "-m", "web", "--port", "0", "--folder", str(folder / "service"), "--", *film_options]
    with log.open("wb") as told, running(command, stderr=told) as process:
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(f"the service ended: {log.read_text()}")
            time.sleep(0.05)
        yield found[1]


def previews(service: str, film: Path, seconds: float, count: int, format: str) -> dict[str, Any]:
    """Ask for the frame between at `count` places of a film of `seconds`, one after the other.

    Returns milliseconds: `whole`, the visitor's waiting; `server`, its part in the EDEN server; `added`, the rest.
    """
    places = random.Random(1)
    taken: dict[str, list[float]] = {"whole": [], "server": [], "added": []}
    with requests.Session() as session:
        session.trust_env = False
        upload = service + _upload(session, service, film)
        for number in range(WARM + count):
            at = places.uniform(0, seconds)
            began = time.perf_counter()
            reply = session.get(f"{upload}/pair/eden", params={"at": f"{at:.3f}", "format": format}, timeout=PATIENCE)
            whole = time.perf_counter() - began
            reply.raise_for_status()
            if number < WARM:
                continue
            timing = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.headers["Server-Timing"]))
            server = float(timing["server"]) / 1e3
            for name, value in (("whole", whole), ("server", server), ("added", whole - server)):
                taken[name].append(value)
    return {name: percentiles(values) for name, values in taken.items()}


def _upload(session: requests.Session, service: str, film: Path) -> str:
    """Upload a film. Returns the path of the upload."""
    data = film.read_bytes()
    tus = {"Tus-Resumable": "1.0.0"}
    reply = session.post(f"{service}/v1/uploads", headers=tus | {"Upload-Length": str(len(data))}, timeout=PATIENCE)
    reply.raise_for_status()
    place = reply.headers["Location"]
    part = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    session.patch(service + place, data=data, headers=tus | part, timeout=PATIENCE).raise_for_status()
    return place


def live(service: str, pictures: Sequence[bytes], rate: float, warm: float, seconds: float) -> dict[str, Any]:
    """Send JPEGs in turn at `rate` per second, for `warm` + `seconds`, of which the latter is measured.

    Returns pairs per second, and the milliseconds from sending a pair's second picture to receiving the one between.
    """
    address = f"ws{service.removeprefix('http')}/v1/live"
    delays: list[float] = []
    with connect(address, proxy=None, compression=None, open_timeout=PATIENCE) as socket:
        begun = time.perf_counter()
        ends = begun + warm + seconds
        sender = threading.Thread(target=_send, args=(socket, pictures, rate, ends))
        sender.start()
        try:
            while (now := time.perf_counter()) < ends:
                message = socket.recv(ends - now)
                now = time.perf_counter()
                if isinstance(message, str):
                    if json.loads(message)["type"] == "error":
                        raise SystemExit(message)
                elif now >= begun + warm:
                    delays.append(now - DRAWN.unpack_from(message)[1])
        except TimeoutError:  # of the last one
            pass
        finally:
            socket.close()  # which ends the sender
            sender.join()
    return {"sent_s": rate, "pairs_s": len(delays) / seconds, "delay": percentiles(delays) if delays else None}


def _send(socket: ClientConnection, pictures: Sequence[bytes], rate: float, ends: float) -> None:
    begun, number = time.perf_counter(), 0
    with suppress(ConnectionClosed):
        while (due := begun + number / rate) < ends:
            time.sleep(max(0.0, due - time.perf_counter()))
            socket.send(STAMP.pack(time.perf_counter()) + pictures[number % len(pictures)])
            number += 1
