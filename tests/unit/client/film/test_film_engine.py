"""The engine that draws in a node's own process: the frames that the model draws, for RGB and for planes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eden import DitDecoder, Encoder, Planes
from eden import YuvFormat as Yuv
from eden.random_weights import write_random
from eden_client import YuvFormat
from eden_client.film.cluster.engine import EngineChoice, EngineClient, FusedEngine
from media import MediaError

pytestmark = pytest.mark.slow

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_random(folder)
    return folder


def client(checkpoint: Path, seed: int = 0) -> EngineClient:
    choice = EngineChoice(str(checkpoint), "fp32", seed, 2)
    return EngineClient(FusedEngine(choice, "cpu"), choice)


def test_a_clip_is_drawn_as_the_model_draws_it(checkpoint):
    encoder, decoder = Encoder.load(checkpoint), DitDecoder.load(checkpoint)
    clip = torch.from_numpy(FRAMES).permute(0, 3, 1, 2)
    wanted = decoder.interpolate([encoder.encode(clip)], seeds=[7], as_uint8=True)[0].permute(0, 2, 3, 1).numpy()
    drawing = client(checkpoint, 7)
    assert np.array_equal(np.stack(list(drawing.between(list(FRAMES)))), wanted)
    assert drawing.traffic.counts()["pairs"] == 3
    assert not np.array_equal(np.stack(list(client(checkpoint, 8).between(list(FRAMES)))), wanted)


def test_planes_come_back_as_planes(checkpoint):
    yuv = YuvFormat("bt709", "limited")
    planes = [yuv.from_rgb(frame) for frame in FRAMES]
    of_model = Planes(torch.from_numpy(np.stack(planes)), Yuv("bt709", "limited"))
    encoder, decoder = Encoder.load(checkpoint), DitDecoder.load(checkpoint)
    wanted = decoder.interpolate([encoder.encode(of_model)], as_uint8=True, yuv=of_model.format)[0].numpy()
    assert wanted.shape == (3, 96, 96)
    assert np.array_equal(np.stack(list(client(checkpoint).between(planes, yuv))), wanted)


def test_what_a_node_lacks_is_named(checkpoint, tmp_path, monkeypatch):
    with pytest.raises(MediaError, match=r"--engine .*none: "):
        list(client(tmp_path / "none").between(list(FRAMES[:2])))
    monkeypatch.setitem(sys.modules, "eden", None)
    with pytest.raises(MediaError, match="needs the model on every node, which lacks eden"):
        list(client(checkpoint).between(list(FRAMES[:2])))
