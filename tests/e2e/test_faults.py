"""Killed workers come back, accepted requests are not lost, and what was put is served or said to be lost."""

from __future__ import annotations

import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import requests

import media
from server import Server
from server.api import BINARY
from tests.e2e.servers import PREDICT, WORKFLOW, moving_frames, wait_for


def interpolate(server: Server, number: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """The frame between; raises AssertionError on an error's answer.

    A call that TorchServe loses with a worker is repeated, once and after a timeout, as the README asks of clients; one
    that is refused, as often as it takes.
    """
    body = media.encode_npy(moving_frames(2, *size, seed=number))
    call = partial(server.api.call, WORKFLOW, data=body, headers=BINARY, timeout=60)
    try:
        reply = call()
    except requests.ReadTimeout:
        reply = call()
    while b"OverCapacity" in reply.content[:200]:
        time.sleep(0.5)
        reply = call()
    assert reply.content.startswith(media.NPY_MAGIC), reply.text
    return np.load(io.BytesIO(reply.content))


def wait_for_new_worker(server: Server, model: str, old: int) -> None:
    wait_for(lambda: server.api.is_serving() and server.worker_pids(model) != [old])


def test_requests_survive_a_killed_decoder(server):
    """What it was computing is computed again after all that waited for it: the tokens must be there until then."""
    (victim,) = server.worker_pids("eden__dit_decoder")
    with ThreadPoolExecutor(40) as pool:  # so many callers, of whom each sends the next when it is answered
        running = [pool.submit(interpolate, server, number, (128, 160)) for number in range(160)]
        wait_for(lambda: sum(future.done() for future in running) >= 20)
        os.kill(victim, signal.SIGKILL)
        results = [future.result(timeout=150) for future in running]
    wait_for_new_worker(server, "eden__dit_decoder", victim)
    for number in (0, 80, 159):
        assert np.abs(results[number].astype(int) - interpolate(server, number, (128, 160))).max() <= 1


def test_a_killed_encoder_comes_back_and_what_it_had_put_is_served_or_said_to_be_lost(server):
    (victim,) = server.worker_pids("eden__encoder")
    wanted = interpolate(server, 0)
    ticket = server.api.call(PREDICT[0], data=media.encode_npy(moving_frames()), headers=BINARY).content
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    reply = server.api.call(PREDICT[1], data=ticket, headers=BINARY)
    assert time.monotonic() - started < 25  # not the 30 that the hand-off waits for a peer that does not answer
    if reply.status_code == 200:
        assert np.array_equal(np.load(io.BytesIO(reply.content)), wanted)
    else:
        assert (reply.status_code, reply.json()["type"]) in ((410, "PayloadGone"), (502, "PeerLost"))
    wait_for_new_worker(server, "eden__encoder", victim)
    interpolate(server, 1)


def test_a_killed_autostart_unpacks_nothing_again(server):
    """With the published weights each time would take half a gigabyte of the disk."""
    unpacked = [server._temporary / kind for kind in ("models", "workflows")]
    before = [sorted(folder.iterdir()) for folder in unpacked]
    assert all(before)
    (victim,) = server.worker_pids("autostart")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: server.worker_pids("autostart") not in ([victim], []) and was_registered(server))
    assert [sorted(folder.iterdir()) for folder in unpacked] == before
    interpolate(server, 0)


def was_registered(server: Server) -> bool:
    told = server.api.registration()
    return told["state"] == "registered" and "already" in told["detail"]
