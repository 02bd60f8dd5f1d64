"""Streams that are left early, and answers that are read slowly."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eden_client import EdenClient, ServerBusy
from eden_client.api import adaptive_timeout
from eden_client.api import client as client_module
from eden_client.api.in_thread import in_thread
from eden_client.api.transport import pack
from tests.unit.client.told import FRAMES, between, envelope, mean, streamed

PROJECT = Path(__file__).parents[3]

LEAVES = """
import sys
import numpy as np
from eden_client import EdenClient, ServerBusy

def frames():
    for _ in range(4):
        yield np.zeros((16, 24, 3), np.uint8)
    raise KeyboardInterrupt

with EdenClient(sys.argv[1], route="workflow") as client:
    for _ in client.stream(frames()):
        pass
"""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client_module, "LONGEST_PAUSE", 0.02)


@pytest.mark.parametrize("then", [between, lambda body: None], ids=["answered", "broken off"])
def test_leaving_a_stream_waits_for_no_call_and_repeats_none(told, then):
    let_go, gave_up, under_way = threading.Event(), [], threading.Barrier(3)
    first = pack(FRAMES[:2], "npy").body

    def held(body):
        under_way.wait(60)
        if body == first:
            return between(body)
        if not let_go.wait(60):
            gave_up.append(body)
        return then(body)

    told.draw = held
    troubles = []
    with EdenClient(told.url, route="workflow", window=3, on_trouble=troubles.append) as client:
        for frame in client.stream(FRAMES):
            assert np.array_equal(frame, mean(*FRAMES[:2]))
            break
        let_go.set()
        for thread in threading.enumerate():
            if thread.name == "pair":
                thread.join()
    assert not gave_up and len(told.bodies) == 3 and not troubles and client.traffic.retries == 0


def test_a_picture_is_read_once_by_the_thread_that_asks_for_the_frames(told, monkeypatch):
    readers, convert = [], Image.Image.convert

    def noted(picture, *mode):
        readers.append(threading.current_thread())
        return convert(picture, *mode)

    monkeypatch.setattr(Image.Image, "convert", noted)
    with EdenClient(told.url, route="workflow") as client:
        made = list(client.stream(map(Image.fromarray, FRAMES)))
    assert len(made) == len(FRAMES) - 1
    assert readers == [threading.current_thread()] * len(FRAMES)


def test_a_program_that_is_interrupted_ends_although_its_calls_hang():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-c", LEAVES, f"http://127.0.0.1:{silent.getsockname()[1]}"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert "KeyboardInterrupt" in done.stderr


def test_what_a_reader_does_with_a_frame_is_not_the_servers_time(told, monkeypatch):
    clock = [0.0]
    for module in (adaptive_timeout, client_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    told.answers = [b"EDEN-TICKET", streamed(between(pack(FRAMES, "npy").body))]
    with EdenClient(told.url, route="chain", timeout=5000) as client:
        for _ in client.between(FRAMES):
            clock[0] += 1000  # a slow writer
        assert client._pace.limit(3 * FRAMES[0].nbytes) == adaptive_timeout.LEAST


def test_the_servers_time_is_all_that_it_was_waited_for(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(adaptive_timeout, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow_server():
        for number in range(3):
            clock[0] += 5
            yield number
        clock[0] += 2

    answer = adaptive_timeout.Timed(slow_server())
    for _ in answer:
        clock[0] += 100
    assert answer.seconds == 17


def test_a_client_that_is_closed_makes_no_call_again(told):
    """Its owner was interrupted: a thread that waits until it may come back, for minutes, ends at once."""
    told.draw = lambda body: (503, envelope(503, "OverCapacity", retry_after=600))
    refused = threading.Event()
    client = EdenClient(
        told.url, route="workflow", transport="npy", patience=300, on_trouble=lambda error: refused.set()
    )
    call = in_thread(client.interpolate_pair, *FRAMES[:2])
    assert refused.wait(60)
    client.close()
    with pytest.raises(ServerBusy):
        call.result(60)
    assert len(told.paths) == 1
