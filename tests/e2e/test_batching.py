"""Requests that come together are computed together, and a lone one hardly waits."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests

import media
from server.api import BINARY
from server.topology import NODES
from tests.e2e.servers import PREDICT, WORKFLOW, assert_no_thread_leaked, moving_frames, wait_for

Counts = dict[tuple[str, str], float]


def counted(server, reached: Callable[[Counts], bool] = lambda counts: True) -> Counts:
    """Requests and batches of each node, once so many are counted and no more come.

    A worker tells them once a second, and TorchServe reads them from its log: they may be late.
    """
    seen: list[Counts] = []

    def settled() -> bool:
        text = requests.get(server.metrics_url, timeout=10).text
        found = re.findall(r'^eden_(requests|batches)_total\{[^}]*"(eden__\w+)"[^}]*\} (\S+)$', text, re.MULTILINE)
        seen.append({(what, node): float(value) for what, node, value in found})
        return reached(seen[-1]) and len(seen) > 19 and all(each == seen[-1] for each in seen[-20:])

    wait_for(settled)
    return seen[-1]


def interpolate(server, number: int) -> np.ndarray:
    body = media.encode_npy(moving_frames(2, 128, 160, seed=number))
    headers = BINARY | {"X-Eden-Seed": str(number)}
    return np.load(io.BytesIO(server.api.call(WORKFLOW, data=body, headers=headers).content))


def waiting(server, node: str) -> int:
    """Requests that wait for a node, once no more come; 0 while they do."""
    seen = {server.api.describe(node)["jobQueueStatus"]["pendingRequests"] for _ in range(10)}
    return seen.pop() if len(seen) == 1 else 0


def test_16_concurrent_pairs_share_batches_at_both_nodes_and_each_gets_its_own(server):
    before = counted(server)
    stopped = [pid for node in NODES for pid in server.worker_pids(node)]
    with ThreadPoolExecutor(16) as pool:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            futures = [pool.submit(interpolate, server, number) for number in range(16)]
            for node, pid in zip(NODES, stopped, strict=True):
                wait_for(lambda node=node: waiting(server, node) >= 8)  # all but those that it has been given
                os.kill(pid, signal.SIGCONT)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        together = [future.result() for future in futures]

    def since(counts: Counts, what: str, node: str) -> float:
        return counts.get((what, node), 0) - before.get((what, node), 0)

    after = counted(server, lambda counts: all(since(counts, "requests", node) >= 16 for node in NODES))
    for node in NODES:
        served, batches = (since(after, what, node) for what in ("requests", "batches"))
        assert served == 16
        assert batches <= 8, f"{node}: {batches} batches for 16 requests"
    for number, result in enumerate(together):
        difference = np.abs(result.astype(int) - interpolate(server, number))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_a_lone_pair_waits_at_most_10_ms_for_company(server):
    delays = []
    for node in NODES:
        reply = server.api.describe(node)
        assert reply["batchSize"] > 1
        delays.append(reply["maxBatchDelay"])
    assert sum(delays) <= 10


def test_large_answers_of_one_batch_all_arrive_whole(server):
    """Each goes by itself; 5 frames of 192x256 are 590 KB, over the bound and less than a piece."""
    clips = [moving_frames(5, 192, 256, seed=number) for number in range(6)]

    def ask(clip: np.ndarray) -> np.ndarray:
        return np.load(io.BytesIO(server.api.call(WORKFLOW, data=media.encode_npy(clip), headers=BINARY).content))

    threads = server.thread_count()
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, clips))
    for clip, result in zip(clips[::3], together[::3], strict=True):
        assert result.shape == (4, 192, 256, 3)
        assert np.abs(result.astype(int) - ask(clip)).max() <= 1
    assert_no_thread_leaked(server, threads)


def test_an_answer_over_http_comes_in_pieces_of_any_number(server):
    clip = moving_frames(9, 256, 320)
    ticket = server.api.call(PREDICT[0], data=media.encode_npy(clip), headers=BINARY).content
    reply = server.api.call(PREDICT[1], data=ticket, headers=BINARY)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-npy")
    assert len(reply.content) > 1 << 20
    assert np.load(io.BytesIO(reply.content)).shape == (8, 256, 320, 3)
