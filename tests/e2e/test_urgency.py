"""Who is answered first, who is refused at once, and what is done for callers who have gone: by a real TorchServe."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import yaml

import media
from bench.capacity.samples import Readings
from eden_client.api.routes import FUSED_PATH
from server import Server
from server.api import BINARY
from server.settings import PROJECT
from server.topology import AS, FUSED, LIVE
from tests.e2e.client_films import client_of
from tests.e2e.servers import PREDICT, TAKEN, WORKFLOW, assert_no_thread_leaked, assert_same, moving_frames, wait_for

HELD, BATCH = "held", 3
"""The fused model once more: it waits until a batch is full, so a test says what comes together."""
PATH = f"/predictions/{HELD}"
ASKED: list[int] = []
"""How many pairs it has been asked for, and draws: metrics tell of them a second later, or two."""
BATCH_OF_BOTH, QUEUE = 4, 64
"""Of eden_fused: see conftest, and jobQueueSize in handlers/eden_fused.yaml."""
PAIR, SHORT, CLIP = (media.encode_npy(moving_frames(count)) for count in (2, 3, TAKEN))
"""What comes back for a short clip is not large enough to go ahead of its batch."""


@pytest.fixture(scope="module")
def held(both: Server) -> Iterator[Server]:
    with (
        zipfile.ZipFile(both.model_store / "eden_fused.mar") as packed,
        zipfile.ZipFile(both.model_store / f"{HELD}.mar", "w") as archive,
    ):
        for name in packed.namelist():
            content = packed.read(name)
            if name == "model-config.yaml":
                batching = {"batchSize": BATCH, "maxBatchDelay": 120_000}
                content = yaml.safe_dump(yaml.safe_load(content) | batching).encode()
            archive.writestr(name, content)
    headers = both.tokens.headers("management")
    options = {"url": f"{HELD}.mar", "model_name": HELD, "initial_workers": "1", "synchronous": "true"}
    requests.post(f"{both.management_url}/models", params=options, headers=headers, timeout=300).raise_for_status()
    yield both
    requests.delete(f"{both.management_url}/models/{HELD}", headers=headers, timeout=60).raise_for_status()
    (both.model_store / f"{HELD}.mar").unlink()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def is_whole(reply: requests.Response, pairs: int) -> bool:
    return len(media.decode_npy(reply.content, max_pixels=10**6, max_frames=100)) == pairs


def read(server: Server, metric: str, model: str) -> int:
    return int(Readings(requests.get(server.metrics_url, timeout=30).text).sum(metric, ModelName=model))


def test_the_urgent_and_the_refused_end_before_their_batch_and_connections_serve_on(held: Server, pool):
    with requests.Session() as session:
        session.headers = held.tokens.headers("inference") | BINARY

        def call(body: bytes, priority: str) -> requests.Response:
            headers = {"X-Eden-Priority": priority}
            return session.post(held.url + PATH, data=body, headers=headers, timeout=300)

        for _ in range(3):
            calls = [pool.submit(call, *each) for each in ((SHORT, "batch"), (PAIR, "live"), (PAIR, "urgent"))]
            clip, pair, refused = (each.result() for each in calls)
            ASKED.append(2 + 1)
            assert (clip.status_code, pair.status_code, refused.status_code) == (200, 200, 400)
            assert is_whole(clip, 2) and is_whole(pair, 1) and "priority is" in refused.json()["message"]
            # an answer that comes with its batch's last message has a length, one that ended before it comes in chunks
            assert "Transfer-Encoding" in pair.headers and "Content-Length" in clip.headers


def test_a_caller_that_goes_away_is_not_told_of(held: Server, pool):
    """What docs/http-api.md says of TorchServe: the clip of a caller who has gone is drawn to its end."""
    token = held.tokens.headers("inference")["Authorization"]
    host, port = held.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as gone:
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nContent-Type: application/x-npy\r\n"
        gone.sendall(f"{head}Content-Length: {len(CLIP)}\r\n\r\n".encode() + CLIP)
        gone.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )  # leaves with a reset: nothing is read
        wait_for(lambda: unread(gone) == 0)
    replies = [pool.submit(held.api.call, PATH, data=PAIR, headers=BINARY) for _ in range(BATCH - 1)]
    assert all(is_whole(each.result(), 1) for each in replies)
    ASKED.append((TAKEN - 1) + (BATCH - 1))
    wait_for(lambda: read(held, "eden_pairs_total", HELD) == sum(ASKED))


def unread(connection: socket.socket) -> int:
    """Bytes that the other end's kernel has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]


def test_a_full_queue_refuses_at_once_and_leaks_nothing(both: Server):
    """What a stopped worker can never answer: the queue's length, and a batch that TorchServe has given it, wait."""
    before = both.thread_count()
    (pid,) = both.worker_pids(FUSED)
    surplus = 5
    count = QUEUE + BATCH_OF_BOTH + surplus
    with ThreadPoolExecutor(count) as pool:
        os.kill(pid, signal.SIGSTOP)
        try:
            calls = [pool.submit(both.api.call, FUSED_PATH, data=PAIR, headers=BINARY) for _ in range(count)]
            wait_for(lambda: sum(each.done() for each in calls) >= surplus)
        finally:
            os.kill(pid, signal.SIGCONT)
        replies = [each.result() for each in calls]
    refused = [reply for reply in replies if reply.status_code != 200]
    assert {(reply.status_code, reply.json()["type"]) for reply in refused} == {(503, "ServiceUnavailableException")}
    assert all(is_whole(reply, 1) for reply in replies if reply.status_code == 200)
    assert_no_thread_leaked(both, before)


def test_what_is_live_goes_by_workers_of_its_own(both: Server):
    pair = moving_frames()
    both.api.register(f"eden_fused.mar{AS}{LIVE}")
    try:
        with client_of(both, priority="live") as live, client_of(both) as other:
            assert_same([live.interpolate_pair(*pair)], [other.interpolate_pair(*pair)])
        wait_for(lambda: read(both, "eden_requests_total", LIVE) == 2)  # the question whether it is there, and the pair
    finally:
        headers = both.tokens.headers("management")
        requests.delete(f"{both.management_url}/models/{LIVE}", headers=headers, timeout=60).raise_for_status()


def test_a_workflow_is_told_of_a_deadline_that_has_passed(both: Server):
    """No batch is answered within 4 ms, so a ticket that is due in one is late at the decoder, if not before."""
    reply = both.api.call(WORKFLOW, data=CLIP, headers=BINARY | {"X-Eden-Deadline-Ms": "1"})
    told = reply.json()
    assert (told["code"], told["type"], told["retry"]) == (504, "DeadlinePassed", "later")
    assert is_whole(both.api.call(WORKFLOW, data=CLIP, headers=BINARY | {"X-Eden-Deadline-Ms": "86400000"}), TAKEN - 1)


def test_a_refusal_for_want_of_room_says_when_to_come_back_in_header_and_body(both: Server):
    """Tickets that nobody brings fill the hand-off: it takes eight payloads."""
    for _ in range(100):
        reply = both.api.call(PREDICT[0], data=CLIP, headers=BINARY)
        if reply.status_code != 200:
            break
    told = reply.json()
    assert (reply.status_code, told["code"], told["type"], told["retry"]) == (503, 503, "OverCapacity", "later")
    assert int(reply.headers["Retry-After"]) == told["retry_after"] >= 1


@pytest.mark.skipif(not os.environ.get("EDEN_BENCH"), reason="measures for half a minute: EDEN_BENCH=1")
@pytest.mark.parametrize("route", ["fused", "workflow", "chain"])
def test_what_docs_say_of_live_pairs_and_refusals_can_be_measured(both: Server, route: str):
    command = [sys.executable, "-m", "bench.urgency", "--server", both.url, "--route", route, "--size", "64x96"]
    options = [
        "--key-file",
        str(both.folder / "key_file.json"),
        "--seconds",
        "2",
        "--clips",
        "2",
        "--length",
        str(TAKEN),
    ]
    ran = subprocess.run(command + options, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=300)
    found = json.loads(ran.stdout)
    assert found["live_pairs"]["beside_clips"]["count"] > 0 and found["live_pairs"]["clips_pairs_per_s"] > 0
    assert found["refusals"]["answered"]["count"] > 0 and found["refusals"]["other_errors"] == 0
