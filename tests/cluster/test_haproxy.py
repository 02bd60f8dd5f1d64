"""Two servers behind a real HAProxy as it ships: one is killed, or drained and replaced, while callers call."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

import media
from bench.proxy import haproxy
from eden_client import EdenClient
from eden_client.api.errors import ServerLost, ServerTrouble
from server import Server
from server.api import BINARY
from tests.e2e.servers import PREDICT, WORKFLOW, assert_same, moving_frames, pack, wait_for

pytestmark = [
    pytest.mark.skipif(haproxy.PROGRAM is None, reason="haproxy is not installed: apt install haproxy"),
    pytest.mark.timeout(1200),  # servers start here, time and again
]

FUSED = "/predictions/eden_fused"
ENCODER, DECODER = PREDICT
ASKS_ONCE = ("--set", "autostart:watch_s=100000", "--set", "autostart:ready_s=1000000")
"""A server makes a call of its own when it has started, so that it is known to answer, and no more."""
BUFFER = 2 << 20
"""Bytes of a request that HAProxy can send again: tune.bufsize in deploy/haproxy.cfg."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("servers")
    store = pack(folder / "store", "--topology", "both", *ASKS_ONCE, "--set", "threads=1")
    env = {"EDEN_HANDOFF_KEY": os.urandom(32).hex()}  # so that each draws what another has encoded
    both = [Server(store, folder / name, "free", haproxy.BEHIND, env) for name in "ab"]
    try:
        with ThreadPoolExecutor(2) as starting:
            list(starting.map(Server.start, both))
        yield both
    finally:
        for each in both:
            each.stop()


@pytest.fixture(scope="module")
def proxy(servers: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[haproxy.Proxy]:
    with haproxy.running(haproxy.ports_of(servers), tmp_path_factory.mktemp("haproxy")) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def all_up(servers: list[Server], proxy: haproxy.Proxy) -> None:
    """Each test begins with two servers that serve."""
    for server in servers:
        if not server.is_running():
            server.start()
    wait_for(lambda: proxy.up() == ["a", "b"])


def post(proxy: haproxy.Proxy, path: str, body: bytes, **headers: str) -> requests.Response:
    auth = {"Authorization": f"Bearer {proxy.key}"}
    return requests.post(f"{proxy.url}{path}", data=body, headers=BINARY | auth | headers, timeout=250)


def frames(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(body))


def drawn(server: Server, clip: np.ndarray) -> np.ndarray:
    """The frames between, by that server itself."""
    return frames(server.api.call(FUSED, data=media.encode_npy(clip), headers=BINARY).content)


def kill(server: Server) -> None:
    """SIGKILL for its Java and all its workers, as when its host goes away."""
    java = psutil.Process(server.java_pid)
    family = [java, *java.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=60)


@contextmanager
def killed_in_mid_call(servers: Sequence[Server], proxy: haproxy.Proxy) -> Iterator[None]:
    """Whichever server gets the call that is made meanwhile is killed while it has it; the other then serves."""
    workers = {name: server.worker_pids("eden_fused") for name, server in zip("ab", servers, strict=True)}
    for pid in (pid for pids in workers.values() for pid in pids):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
        wait_for(lambda: [row["scur"] for row in proxy.servers().values()].count("1") == 1)
        (name,) = [name for name, row in proxy.servers().items() if row["scur"] == "1"]
        kill(dict(zip("ab", servers, strict=True))[name])
        del workers[name]
    finally:
        for pid in (pid for pids in workers.values() for pid in pids):
            os.kill(pid, signal.SIGCONT)


def left(servers: Sequence[Server]) -> Server:
    """The only one that runs."""
    (one,) = [each for each in servers if each.is_running()]
    return one


def test_callers_have_keys_of_their_own_and_reach_nothing_but_frames(servers, proxy):
    pair = media.encode_npy(moving_frames())
    assert post(proxy, FUSED, pair).status_code == 200
    for headers in ({"Authorization": "Bearer another"}, {"Authorization": ""}):
        told = post(proxy, FUSED, pair, **headers)
        assert (told.status_code, told.json()["type"]) == (401, "InvalidKeyException")
    for path in ("/models", "/workflows", "/ping", "/metrics", "/ready", "/token?type=inference"):
        assert post(proxy, path, b"").status_code == 404
    auth = {"Authorization": f"Bearer {proxy.key}"}
    assert requests.post(f"{proxy.url}{FUSED}", data=pair, headers=auth, timeout=60).status_code == 415
    # and nobody else's key is asked for behind it
    assert requests.post(f"{servers[0].url}{FUSED}", data=pair, headers=BINARY, timeout=60).status_code == 200


def test_the_client_gets_on_through_it_as_with_one_server(servers, proxy):
    clip = moving_frames(5)
    right = drawn(servers[0], clip)
    for route in ("fused", "workflow", "chain"):
        for transport in ("npy", "region"):
            with EdenClient(proxy.url, token=proxy.key, route=route, transport=transport) as eden:
                for _ in range(4):  # tickets of either server, to either server
                    assert_same(eden.interpolate_clip(list(clip)), right)


def test_a_call_whose_server_is_killed_is_answered_by_the_other(servers, proxy):
    clip = moving_frames(9, seed=3)
    with ThreadPoolExecutor(1) as caller, killed_in_mid_call(servers, proxy):
        call = caller.submit(post, proxy, FUSED, media.encode_npy(clip))
    answer = call.result()
    assert answer.status_code == 200
    assert_same(frames(answer.content), drawn(left(servers), clip))
    assert sum(int(row["wretr"]) for row in proxy.servers().values()) >= 1
    assert post(proxy, FUSED, media.encode_npy(moving_frames())).status_code == 200


def test_what_is_too_large_for_its_buffer_the_client_sends_again(servers, proxy):
    clip = moving_frames(60, 128, 160, seed=4)
    assert clip.nbytes > BUFFER
    trouble: list[ServerTrouble] = []
    with EdenClient(proxy.url, token=proxy.key, route="fused", transport="npy", on_trouble=trouble.append) as eden:
        eden.interpolate_pair(*moving_frames())
        with ThreadPoolExecutor(1) as caller, killed_in_mid_call(servers, proxy):
            call = caller.submit(eden.interpolate_clip, list(clip))
        assert_same(call.result(), drawn(left(servers), clip))
    assert [isinstance(each, ServerLost) for each in trouble] == [True]


def test_a_server_is_drained_and_replaced_and_no_caller_notices(servers, proxy):
    """Callers by every way, who do not try again: what they see is what anybody would."""
    small, over, wrong, right = media.encode_npy(moving_frames(4)), threading.Event(), [], [0]

    def calls(*paths: str) -> None:
        while not over.is_set():
            body = small
            for path in paths:
                answer = post(proxy, path, body)
                body = answer.content
                if answer.status_code != 200 or body.startswith(b"{"):
                    wrong.append((path, answer.status_code, body[:200]))
                    return
            right[0] += len(frames(body)) == 3

    with ThreadPoolExecutor(3) as callers:
        for paths in ((FUSED,), (WORKFLOW,), (ENCODER, DECODER)):
            callers.submit(calls, *paths)
        try:
            for number, server in enumerate(servers):
                assert server.drain(within=200, notice=5) == ""
                server.start()
                wait_for(lambda: proxy.up() == ["a", "b"])
                so_far = right[0]
                wait_for(lambda so_far=so_far: wrong or right[0] > so_far + 6)
                assert not wrong, (number, wrong)
        finally:
            over.set()
    assert not wrong


def test_while_no_server_is_ready_it_says_when_to_come_back(servers, proxy):
    pair = media.encode_npy(moving_frames())
    for server in servers:
        server.place.refuse_from(time.time() + 1000)
    try:
        wait_for(lambda: proxy.up() == [])
        told = post(proxy, FUSED, pair)
        assert (told.status_code, told.headers["Retry-After"], told.json()["retry"]) == (503, "2", "later")
    finally:
        for server in servers:
            server.serve_on()
    wait_for(lambda: proxy.up() == ["a", "b"])
    servers[0].place.refuse_from(0)  # refuses at once, before HAProxy knows
    try:
        for _ in range(4):
            assert post(proxy, FUSED, pair).status_code == 200
    finally:
        servers[0].serve_on()


def test_the_configuration_that_ships_is_one(tmp_path: Path):
    """HAProxy itself reads it as it is, but for files that are not here."""
    text = haproxy.CONFIGURATION.read_text().replace("/etc/haproxy/eden-callers.map)", f"{tmp_path / 'callers'})")
    (tmp_path / "callers").touch()
    (tmp_path / "haproxy.cfg").write_text(text.replace("/run/haproxy", str(tmp_path)))
    checked = subprocess.run([haproxy.PROGRAM, "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr
