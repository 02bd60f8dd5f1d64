"""What a newcomer gets: the demo weights through the workflow, judged by the pictures that come back."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from bench import pair
from bench.quality.measures import psnr
from bench.quality.methods import average
from bench.quality.scenes import Scene, held_out
from server import Server
from server.settings import PROJECT
from tests.e2e.servers import WORKFLOW, pack, running_server


@pytest.fixture(scope="module")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = pack(tmp_path_factory.mktemp("demo_store"), "--checkpoint", str(PROJECT / "weights" / "demo"))
    with running_server(store, tmp_path_factory.mktemp("demo_server")) as running:
        yield running


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return held_out(seed=6, count=3, size=(160, 256))


def between(server: Server, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    body = io.BytesIO()
    np.save(body, np.stack([first, last]))
    headers = {"Content-Type": "application/x-npy"}
    reply = server.api.call(WORKFLOW, data=body.getvalue(), headers=headers, timeout=60)
    (frame,) = np.load(io.BytesIO(reply.content))
    return frame


@pytest.mark.parametrize(("displacement", "gain"), [("4-16", 6.0), ("16-32", 3.0)])
def test_frames_between_are_better_than_the_average(demo_server, scenes, displacement, gain):
    """Scenes that share nothing with those that the weights were trained on; dB above averaging."""
    ours = [psnr(between(demo_server, scene.first, scene.last), scene.middle) for scene in scenes[displacement]]
    plain = [psnr(average(scene.first, scene.last), scene.middle) for scene in scenes[displacement]]
    print(ours, plain)
    assert np.mean(ours) >= np.mean(plain) + gain


def test_what_stands_still_stays_as_it_is(demo_server, scenes):
    for scene in scenes["still"]:
        assert psnr(between(demo_server, scene.first, scene.last), scene.first) >= 42


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_the_benchmark_of_a_lone_pair_times_each_call(demo_server, format):
    taken = pair.measure(demo_server, 2, format)
    assert len(taken) == 2 and min(taken) > 0
