"""Requests that come together are computed together, and a lone one hardly waits."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests

import media
from tests.e2e.serving import PREDICT, WORKFLOW, moving_frames

NODES = ("eden__encoder", "eden__dit_decoder")
HEADERS = {"Content-Type": "application/octet-stream"}


def counted(server, name: str, model: str) -> float:
    text = requests.get(server.metrics_url, timeout=10).text
    return sum(float(v) for v in re.findall(rf'^{name}\{{[^}}]*"{model}"[^}}]*\}} (\S+)$', text, re.MULTILINE))


def interpolate(server, number: int) -> np.ndarray:
    body = media.encode_npy(moving_frames(2, 128, 160, seed=number))
    headers = HEADERS | {"X-Eden-Seed": str(number)}
    return np.load(io.BytesIO(server.api.call(WORKFLOW, data=body, headers=headers).content))


def test_16_concurrent_pairs_share_batches_at_both_nodes_and_each_gets_its_own(server):
    before = {n: (counted(server, "eden_requests_total", n), counted(server, "eden_batches_total", n)) for n in NODES}
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda n: interpolate(server, n), range(16)))
    for node in NODES:
        served = counted(server, "eden_requests_total", node) - before[node][0]
        batches = counted(server, "eden_batches_total", node) - before[node][1]
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
        return np.load(io.BytesIO(server.api.call(WORKFLOW, data=media.encode_npy(clip), headers=HEADERS).content))

    threads = server.thread_count()
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, clips))
    for clip, result in zip(clips[::3], together[::3], strict=True):
        assert result.shape == (4, 192, 256, 3)
        assert np.abs(result.astype(int) - ask(clip)).max() <= 1
    assert server.thread_count() <= threads + 6  # connections; no call leaks one


def test_an_answer_over_http_comes_in_pieces_of_any_number(server):
    clip = moving_frames(9, 256, 320)
    ticket = server.api.call(PREDICT[0], data=media.encode_npy(clip), headers=HEADERS).content
    reply = server.api.call(PREDICT[1], data=ticket, headers=HEADERS)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-npy")
    assert len(reply.content) > 1 << 20
    assert np.load(io.BytesIO(reply.content)).shape == (8, 256, 320, 3)
