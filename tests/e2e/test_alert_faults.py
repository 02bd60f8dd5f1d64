"""Each alert that is shipped is fired by a fault of a real server, under a real Prometheus, in its own time.

What it printed on which machine stands in docs/operations.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

import media
from server import Server
from server.api import BINARY
from server.topology import NODES
from tests.e2e.prometheus import Prometheus, scraping
from tests.e2e.servers import PREDICT, WORKFLOW, interpolates, moving_frames, pack, wait_for

pytestmark = [
    pytest.mark.alone,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("EDEN_BENCH"), reason="takes a quarter of an hour: EDEN_BENCH=1"),
]

ENCODER, DECODER = NODES
LONGEST = 900.0
"""Seconds that an alert may take to fire, or to end: it waits for minutes by itself."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Prometheus]]:
    """As they ship: server, watch, rules and their times."""
    store = pack(tmp_path_factory.mktemp("watched") / "store", "--set", "autostart:watch_s=15")
    with (
        Server(store, folder=tmp_path_factory.mktemp("server"), ports="free") as server,
        scraping(server, tmp_path_factory.mktemp("prometheus")) as prometheus,
    ):
        yield server, prometheus


@contextlib.contextmanager
def calling(call: Callable[[], object], callers: int) -> Iterator[None]:
    """So many callers, each with the next call as soon as the last one is answered, whatever it is."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            call()

    threads = [threading.Thread(target=run) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def fires(prometheus: Prometheus, alert: str, fault: str, since: float, **labels: str) -> None:
    """Wait until the alert fires with these labels, and print how long it took and what it says."""

    def of_these() -> list[dict]:
        firing = prometheus.alerts().get(alert, [])
        return [each for each in firing if labels.items() <= each["labels"].items()]

    wait_for(lambda: bool(of_these()), LONGEST)
    told = of_these()[0]["annotations"]["summary"]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {psutil.virtual_memory().total >> 30} GiB"
    record = {"alert": alert, "fault": fault, "seconds": round(time.time() - since), "says": told, "machine": machine}
    print(json.dumps(record))


def quiet(prometheus: Prometheus, alert: str) -> None:
    wait_for(lambda: alert not in prometheus.alerts(), LONGEST)


def test_a_killed_worker_is_a_restart(watched):
    server, prometheus = watched
    assert "EdenWorkerRestarted" not in prometheus.alerts()
    since = time.time()
    os.kill(server.worker_pids(DECODER)[0], signal.SIGKILL)
    fires(prometheus, "EdenWorkerRestarted", "kill -9 of dit_decoder", since, ModelName=DECODER)
    wait_for(lambda: interpolates(server), LONGEST)


def test_tickets_that_nobody_brings_fill_the_hand_off_and_the_next_are_refused(watched):
    server, prometheus = watched
    assert not {"EdenHandoffNearlyFull", "EdenRefusing"} & set(prometheus.alerts())
    body = media.encode_npy(moving_frames())

    def take_a_ticket() -> None:
        server.api.call(PREDICT[0], data=body, headers=BINARY)
        time.sleep(0.2)

    since = time.time()
    with calling(take_a_ticket, 2):
        fires(prometheus, "EdenHandoffNearlyFull", "64 tickets that nobody brought", since, Bound="clips")
        fires(prometheus, "EdenRefusing", "the same, and more of them", since, Reason="in_flight")
        assert "EdenNotReady" not in prometheus.alerts()


def test_more_calls_than_it_computes_are_slow(watched):
    server, prometheus = watched
    assert "EdenSlow" not in prometheus.alerts()
    body = media.encode_npy(moving_frames(9, 256, 448))
    since = time.time()
    with calling(lambda: server.api.call(WORKFLOW, data=body, headers=BINARY), 12):
        fires(prometheus, "EdenSlow", "12 callers at once, clips of 9 frames of 256x448", since, Topology="split")


def test_a_worker_that_hangs_is_not_ready_though_it_is_listed_as_ready(watched):
    server, prometheus = watched
    wait_for(lambda: interpolates(server), LONGEST)
    quiet(prometheus, "EdenNotReady")
    decoder = psutil.Process(server.worker_pids(DECODER)[0])
    since = time.time()
    decoder.suspend()
    try:
        fires(prometheus, "EdenNotReady", "SIGSTOP of dit_decoder, no caller", since, ModelName=DECODER)
        assert server.api.is_serving(server.topology)
    finally:
        decoder.resume()
    wait_for(lambda: interpolates(server), LONGEST)
    quiet(prometheus, "EdenNotReady")


def test_a_server_that_is_gone_is_not_ready(watched, tmp_path):
    server, prometheus = watched
    quiet(prometheus, "EdenNotReady")
    since = time.time()
    psutil.Process(server.java_pid).kill()
    fires(prometheus, "EdenNotReady", "kill -9 of Java", since)
