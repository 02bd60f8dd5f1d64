"""A server in the foreground that is told to end while it serves: what its callers get, and what its health says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import media
from server import Server
from server.api import BINARY
from server.settings import PROJECT
from tests.e2e.servers import PREDICT, WORKFLOW, command, moving_frames, pack, processes_of, wait_for

FUSED = "/predictions/eden_fused"
ENCODER, DECODER = PREDICT
LONG = media.encode_npy(moving_frames(80))
"""Eighty frames."""
STREAM = {"X-Eden-Stream": "1"}
ALWAYS = ("--set", "autostart:ready_s=1000000")


class Running:
    """`python -m server run`, and the server that it runs."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder / "server"
        self.log = folder / "run.log"
        line = [sys.executable, "-m", "server", "run", "--folder", str(self.folder), "--model-store", str(store)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*line, "--ports", "free", "--within", "200"], cwd=PROJECT, stdout=log)

    def server(self) -> Server:
        wait_for(lambda: self.process.poll() is not None or "Health" in self.log.read_text(), 240)
        assert self.process.poll() is None, self.log.read_text()
        return Server(folder=self.folder)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("run")
    # It asks itself only when it has started, so that it is known to answer; and that is good for ever.
    store = pack(folder / "store", "--topology", "both", "--set", "autostart:watch_s=600", *ALWAYS)
    running = Running(folder, store)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            time.sleep(1.5)  # a second signal within a second is the same one
            running.process.terminate()
            running.process.wait(120)


def ready(server: Server) -> tuple[int, str]:
    reply = requests.get(f"{server.health_url}/ready", timeout=60)
    return reply.status_code, reply.text.strip()


def test_it_is_ready_when_it_has_answered_and_a_drain_can_be_taken_back(running):
    server = running.server()
    wait_for(lambda: ready(server) == (200, "yes"))
    assert requests.get(f"{server.health_url}/live", timeout=60).status_code == 200
    ticket = server.api.call(ENCODER, data=LONG, headers=BINARY).content
    status = command("status", "--folder", running.folder, "--within", "60")
    assert status.returncode == 0 and f"{server.health_url}/ready" in status.stdout
    assert server.place.is_working()  # whoever has the ticket may still come
    assert server.api.call(DECODER, data=ticket, headers=BINARY).status_code == 200
    wait_for(lambda: not server.place.is_working())

    line = [
        sys.executable,
        "-m",
        "server",
        "drain",
        "--folder",
        str(running.folder),
        "--within",
        "600",
        "--notice",
        "600",
    ]
    with subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as drain:
        wait_for(lambda: ready(server) == (503, "draining"))
        assert server.api.call(FUSED, data=media.encode_npy(moving_frames()), headers=BINARY).status_code == 200
        drain.terminate()
        assert drain.wait(60) == 128 + signal.SIGTERM
    assert ready(server) == (200, "yes")

    server.place.refuse_from(0)  # as one leaves it that was killed
    refused = server.api.call(FUSED, data=media.encode_npy(moving_frames()), headers=BINARY)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert command("status", "--folder", running.folder, "--within", "60").returncode == 1
    assert (
        command("drain", "--cancel", "--folder", running.folder).stdout
        == "The drain is cancelled: the server accepts calls again.\n"
    )
    assert server.api.call(FUSED, data=media.encode_npy(moving_frames()), headers=BINARY).status_code == 200


def test_told_to_end_it_refuses_what_is_new_finishes_what_it_has_and_ends(running):
    server = running.server()
    (decoder,) = server.worker_pids("eden__dit_decoder")
    token, size = server.tokens.headers(), len(media.encode_npy(moving_frames(79)))

    def workflow() -> bytes:
        return server.api.call(WORKFLOW, data=LONG, headers=BINARY, timeout=200).content

    with ThreadPoolExecutor(1) as caller:
        os.kill(decoder, signal.SIGSTOP)
        try:
            by_workflow = caller.submit(workflow)
            wait_for(server.place.is_working)  # the encoder has it, or its tokens wait for the decoder
            ticket = server.api.call(ENCODER, data=LONG, headers=BINARY)
            assert ticket.status_code == 200
            streamed = requests.post(
                f"{server.url}{FUSED}", data=LONG, headers=BINARY | token | STREAM, timeout=200, stream=True
            )
            first = streamed.raw.read(1)

            running.process.send_signal(signal.SIGTERM)
            wait_for(server.place.refuses)
            assert ready(server) == (503, "draining")
            for path in (FUSED, ENCODER):
                refused = server.api.call(path, data=LONG, headers=BINARY)
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
                assert "about to be stopped" in refused.json()["message"]
        finally:
            os.kill(decoder, signal.SIGCONT)
        assert len(by_workflow.result()) == size
    told = server.api.call(WORKFLOW, data=LONG, headers=BINARY)
    assert (told.status_code, json.loads(told.content)["code"]) == (200, 503)
    with streamed:
        assert (first + streamed.raw.read()).count(b"Content-Type: ") == 79
    assert running.process.poll() is None  # it waits for the ticket, if for nothing else
    drawn = server.api.call(DECODER, data=ticket.content, headers=BINARY)
    assert (drawn.status_code, len(drawn.content)) == (200, size)

    assert running.process.wait(240) == 0, running.log.read_text()
    assert "All accepted calls were finished." in running.log.read_text()
    with pytest.raises(requests.ConnectionError):
        ready(server)
    assert processes_of(running.folder) == []
