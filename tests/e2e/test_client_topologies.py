"""The client beside a real TorchServe of the workflow and the fused model, with little room for clips."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import requests

from bench.capacity.samples import Readings
from eden_client import TooLarge
from server import Server
from server.topology import FUSED, NODES
from tests.e2e.client_films import CLIP, client_of, look_at, run, told, write_film
from tests.e2e.servers import assert_same, wait_for

FRAMES = 12
"""Of the film: more than the server takes at once."""
ENCODER, _ = NODES


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lossless, so that what comes back can be compared value by value."""
    target = tmp_path_factory.mktemp("films") / "film.mkv"
    return write_film(target, CLIP[:FRAMES], codec="ffv1", pixel_format="bgr0")


def served(server: Server, model: str) -> int:
    """Requests that a model has answered so far."""
    page = requests.get(server.metrics_url, timeout=30).text
    return int(Readings(page).sum("eden_requests_total", ModelName=model))


@pytest.fixture(scope="module")
def by_workflow(both: Server, film: Path, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    target = tmp_path_factory.mktemp("films") / "workflow.mkv"
    assert run(both, film, target, "--route", "workflow") == 0
    return look_at(target).frames


def test_where_both_are_offered_a_film_goes_by_fused_and_is_the_same(both, film, by_workflow, tmp_path):
    before = served(both, FUSED)
    assert run(both, film, tmp_path / "auto.mkv") == 0
    assert_same(look_at(tmp_path / "auto.mkv").frames, by_workflow)
    wait_for(lambda: served(both, FUSED) >= before + 1 + FRAMES - 1)  # the question, and all pairs


@pytest.mark.parametrize("route", ["auto", "workflow", "chain"])
@pytest.mark.parametrize("transport", ["npy", "png"])
def test_clips_that_are_too_large_go_in_shorter_ones(both, film, by_workflow, tmp_path, capsys, route, transport):
    options = ["--route", route, "--transport", transport, "--strategy", "batch", "--clip", "12", "--json"]
    assert run(both, film, tmp_path / "batch.mkv", *options) == 0
    assert_same(look_at(tmp_path / "batch.mkv").frames, by_workflow)
    traffic = told(capsys)["traffic"]
    assert traffic["pairs"] == FRAMES - 1
    # 12 frames are refused; 5, 5 and 4 of them are served
    calls = {"auto": 1 + 1 + 3, "workflow": 1 + 3, "chain": 1 + 2 * 3}[route]
    assert 0 <= traffic["calls"] - calls <= 2 * traffic["retries"]


def test_the_library_takes_any_clip(both, by_workflow):
    for route in ("fused", "workflow"):
        with client_of(both, route=route) as client:
            assert_same(list(client.interpolate_clip(CLIP[:FRAMES])), by_workflow[1::2])
            assert_same(list(client.between(CLIP[:7])), by_workflow[1:13:2])
    larger_than_any = [np.zeros((512, 512, 3), np.uint8)] * 2
    with client_of(both, route="workflow") as client, pytest.raises(TooLarge, match="512x512"):
        client.interpolate_clip(larger_than_any)


def test_a_killed_worker_of_fused_is_ridden_out(both):
    with client_of(both) as client:
        frames = client.stream(CLIP)
        made = [next(frames)]
        (pid,) = both.worker_pids(FUSED)
        os.kill(pid, signal.SIGKILL)
        made += frames
    assert len(made) == len(CLIP) - 1
    with client_of(both, route="workflow") as client:
        assert_same(made, list(client.stream(CLIP)))


def test_a_model_that_is_taken_away_is_looked_for_elsewhere(both, by_workflow):
    with client_of(both) as client:
        assert_same([client.interpolate_pair(*CLIP[:2])], [by_workflow[1]])
        headers = both.tokens.headers("management")
        assert requests.delete(f"{both.management_url}/models/{FUSED}", headers=headers, timeout=60).ok
        try:
            encoded = served(both, ENCODER)
            assert_same(list(client.stream(CLIP[:FRAMES])), by_workflow[1::2])
            wait_for(lambda: served(both, ENCODER) >= encoded + FRAMES - 1)
        finally:
            both.api.register(f"{FUSED}.mar")
