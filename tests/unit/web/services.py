"""A service of a test, really listening, with films drawn by `instant_film`; and what a visitor does with it."""

from __future__ import annotations

import json
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import requests

from web.__main__ import server_of
from web.app import Service
from web.settings import Limits, Settings

INSTANT = (sys.executable, "-m", "tests.unit.web.instant_film")
LIMITS = Limits(reserve_bytes=0)
AWAY = ("--server", "http://127.0.0.1:9", "--token", "none")
PATIENCE = 120.0
"""Seconds that anything may take."""


class Blending:
    """A client that blends two frames, in place of one that asks a server."""

    def __init__(self, *_, **__) -> None: ...

    def interpolate_pair(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return ((first.astype(int) + second) // 2).astype(np.uint8)

    def close(self) -> None: ...


class Visitor(requests.Session):
    """Calls one service, by nobody's proxy."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self.url, self.folder, self.trust_env = url, folder, False
        self.headers["Connection"] = "close"  # one that is kept may be closed in the moment in which it is used again

    end: Callable[[], None]
    """Ends the service, if it still runs."""

    def request(self, method, path, **options):
        return super().request(method, f"{self.url}{path}", **{"timeout": PATIENCE} | options)

    def send_film(self, film: Path, name: str = "film.mp4", **options) -> dict:
        """By a form; the video."""
        told = json.dumps(options)
        reply = self.post("/v1/videos", files={"film": (name, film.read_bytes())}, data={"options": told})
        assert reply.status_code == 201, reply.text
        return reply.json()

    def upload(self, data: bytes, name: str = "film.mp4") -> str:
        """By tus; the path of the upload."""
        tus = {"Tus-Resumable": "1.0.0"}
        told = {"Upload-Length": str(len(data)), "Upload-Metadata": f"filename {b64encode(name.encode()).decode()}"}
        place = self.post("/v1/uploads", headers=tus | told).headers["Location"]
        chunk = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert self.patch(place, data=data, headers=chunk).status_code == 204
        return place

    def video(self, id_: str) -> dict:
        return self.get(f"/v1/videos/{id_}").json()

    def patch_video(self, id_: str, **change) -> requests.Response:
        return self.patch(f"/v1/videos/{id_}", json=change)

    def until(self, id_: str, wanted: Callable[[dict], bool]) -> dict:
        """The video once it is so."""
        until = time.monotonic() + PATIENCE
        while not wanted(video := self.video(id_)):
            assert time.monotonic() < until, video
            time.sleep(0.02)
        return video

    def ended(self, id_: str) -> dict:
        return self.until(id_, lambda video: video["status"] in ("completed", "failed", "cancelled"))

    def content(self, id_: str, **options) -> requests.Response:
        return self.get(f"/v1/videos/{id_}/content", **options)


def held_up(visitor: Visitor, id_: str) -> dict:
    """The video once it is held in the middle, its first two segments finished."""
    journal = visitor.folder / "videos" / id_ / "film.mp4.parts" / "journal.json"
    until = time.monotonic() + PATIENCE
    while not (journal.exists() and journal.read_text().count('"number"') >= 2):
        assert time.monotonic() < until
        time.sleep(0.02)
    return visitor.until(id_, lambda video: video["status"] == "in_progress" and video["frames"] > 0)


@contextmanager
def running(folder: Path, limits: Limits = LIMITS, **settings) -> Iterator[Visitor]:
    """A service on a free port, and a visitor of it."""
    wanted = replace(Settings(folder, port=0, command=INSTANT, limits=limits), **settings)
    service = Service(wanted)
    server = server_of(wanted, service)
    thread = threading.Thread(target=server.run)
    thread.start()

    def end() -> None:
        server.handle_exit(2, None)
        thread.join()

    try:
        until = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)
        ((host, port),) = [each.getsockname()[:2] for socket in server.servers for each in socket.sockets]
        with Visitor(f"http://{host}:{port}", folder) as visitor:
            visitor.end = end
            yield visitor
    finally:
        if thread.is_alive():
            end()
