"""Frames in shared memory beside a real TorchServe: the same frames as by bodies, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from eden_client import RegionUnavailable
from eden_client.api.regions import RegionPool
from server import Server
from server.settings import PROJECT
from tests.e2e.client_films import client_of
from tests.e2e.servers import assert_same, interpolates, moving_frames

CLIP = list(moving_frames(4, 48, 64, seed=2))
SHARED = Path("/dev/shm")


@pytest.fixture(scope="module")
def by_body(server: Server) -> np.ndarray:
    with client_of(server, route="workflow", transport="npy", seed=3) as client:
        return client.interpolate_clip(CLIP)


@pytest.mark.parametrize("route", ["workflow", "chain"])
def test_frames_are_those_that_bodies_bring(server: Server, by_body: np.ndarray, route: str):
    with client_of(server, route=route, transport="region", seed=3) as client:
        assert_same(client.interpolate_clip(CLIP), by_body)
        assert_same([client.interpolate_pair(*CLIP[:2])], by_body[:1])


def test_by_default_a_client_of_this_host_shares_memory(server: Server, by_body: np.ndarray):
    with client_of(server, seed=3) as client:
        frames = client.between(CLIP)
        assert_same([next(frames)], by_body[:1])
        assert client._regions
        (region,) = client._regions._free
        assert (SHARED / region.name).exists()
        frames.close()
    assert not (SHARED / region.name).exists()


def test_a_client_with_another_folder_sends_bodies(server: Server, by_body: np.ndarray, tmp_path: Path):
    with client_of(server, seed=3, region_folder=tmp_path) as client:
        assert_same(client.interpolate_clip(CLIP), by_body)
        assert client.traffic.retries == 0
    with client_of(server, transport="region", region_folder=tmp_path) as client, pytest.raises(RegionUnavailable):
        client.interpolate_clip(CLIP)


CALLER = """
import sys
import numpy as np
from eden_client import EdenClient
frames = list(np.zeros((6, 64, 64, 3), np.uint8))
client = EdenClient(sys.argv[1], key_file=sys.argv[2], route="workflow", transport="region")
client.interpolate_clip(frames)
print(client._regions._free[0].name, flush=True)
while True:
    client.interpolate_clip(frames)
"""


def test_a_caller_that_is_killed_leaves_nothing_for_long(server: Server):
    command = [sys.executable, "-c", CALLER, server.url, str(server.tokens.path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as caller:
        assert caller.stdout
        name = caller.stdout.readline().decode().strip()
        assert (SHARED / name).exists()
        caller.send_signal(signal.SIGKILL)
    region = SHARED / name
    while region.exists():  # until the server has written its answer to the call that was left, it looks new again
        with suppress(FileNotFoundError):  # a client of another test's may have come by
            os.utime(region, (0, 0))
        RegionPool(SHARED)
        time.sleep(0.01)
    assert interpolates(server)
