"""The split workflow and the fused model, side by side in one real TorchServe."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import requests
import torch

import media
from eden.planes import YuvFormat, to_planes, to_rgb
from media.region_format import CONTENT_TYPE, FOLDER
from server import Server
from server.api import BINARY
from tests.e2e.client_films import client_of
from tests.e2e.servers import TAKEN, WORKFLOW, moving_frames, wait_for
from tests.region_files import RegionFile

FUSED = "/predictions/eden_fused"
PICTURES = {f"frame{i}": (f"{i}.png", media.encode_image(f, "png")) for i, f in enumerate(moving_frames())}


def frames(reply: requests.Response) -> np.ndarray:
    assert reply.content.startswith(media.NPY_MAGIC), reply.text
    return media.decode_npy(reply.content, max_pixels=10**6, max_frames=100)


@pytest.mark.parametrize("count", [2, 5])
def test_both_draw_the_same_frames(both: Server, count: int):
    body = media.encode_npy(moving_frames(count, seed=3))
    headers = BINARY | {"X-Eden-Seed": "9"}
    one, other = (frames(both.api.call(path, data=body, headers=headers)) for path in (FUSED, WORKFLOW))
    assert len(one) == count - 1
    assert np.array_equal(one, other)


def test_by_shared_memory_fused_draws_the_same_frames(both: Server):
    clip = list(moving_frames(4, seed=3))
    answers = []
    for transport in ("region", "npy"):
        with client_of(both, route="fused", transport=transport, seed=9) as client:
            answers.append([client.interpolate_clip(clip), client.interpolate_pair(*clip[:2])])
    for one, other in zip(*answers, strict=True):
        assert np.array_equal(one, other)


def test_planes_come_back_as_planes_of_what_rgb_shows(both: Server):
    format = YuvFormat("bt601", "full")
    planes = to_planes(torch.from_numpy(moving_frames(4, seed=3)).permute(0, 3, 1, 2), format)
    sent = planes.samples.numpy()
    said = {"X-Eden-Layout": "i420", "X-Eden-Matrix": "bt601", "X-Eden-Range": "full", "X-Eden-Seed": "9"}
    answers = []
    for path in (FUSED, WORKFLOW):
        reply = both.api.call(path, data=media.encode_npy(sent), headers=BINARY | said)
        assert reply.content.startswith(media.NPY_MAGIC), reply.text
        answers.append(media.decode_npy(reply.content, max_pixels=10**6, max_frames=100, layout="i420"))
        region = RegionFile.write(Path(FOLDER), sent)
        try:
            body = region.body(layout="i420", matrix="bt601", range="full")
            reply = both.api.call(path, data=body, headers={"Content-Type": CONTENT_TYPE, "X-Eden-Seed": "9"})
            told = {"layout": "i420", "dtype": "uint8", "shape": [3, 96, 96], "offset": region.answer, "first": 0}
            assert reply.json() == told
            answers.append(region.between.copy())
        finally:
            region.path.unlink()
    for answer in answers[1:]:
        assert np.array_equal(answer, answers[0])

    shown = (to_rgb(planes) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    body = media.encode_npy(shown.numpy())
    between = torch.from_numpy(frames(both.api.call(FUSED, data=body, headers=BINARY | {"X-Eden-Seed": "9"})))
    expected = to_planes(between.permute(0, 3, 1, 2), format).samples.numpy()
    assert answers[0].shape == expected.shape == (3, 96, 96)
    assert np.abs(answers[0].astype(int) - expected).max() <= 2  # what the network saw was not rounded to bytes

    reply = both.api.call(FUSED, data=media.encode_npy(sent), headers=BINARY | said | {"Accept": "video/mp4"})
    assert reply.status_code == 400 and "layout is i420, which mp4 does not hold" in reply.json()["message"]


def test_fused_says_what_it_answers(both: Server):
    reply = both.api.call(FUSED, files=PICTURES)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "image/png")
    assert media.decode_image(reply.content, max_pixels=10**6).shape == (64, 96, 3)
    reply = both.api.call(FUSED, files=PICTURES, headers={"Accept": "image/jpeg"})
    assert reply.headers["Content-Type"] == "image/jpeg"
    for files, code in ((PICTURES | {"seed": (None, "x")}, 400), ({}, 400)):
        reply = both.api.call(FUSED, files=files or {"frame0": PICTURES["frame0"]})
        assert reply.status_code == reply.json()["code"] == code
    reply = both.api.call(FUSED, files=PICTURES, headers={"Accept": "text/html"})
    assert reply.status_code == 406
    reply = both.api.call(FUSED, data=media.encode_npy(moving_frames(TAKEN + 1)), headers=BINARY)
    assert (reply.status_code, reply.json()["largest_clip"]) == (413, TAKEN)


def test_fused_streams_as_the_decoder_does(both: Server):
    body = media.encode_npy(moving_frames(4))
    headers = BINARY | {"X-Eden-Stream": "1", "X-Eden-Format": "npy"}
    reply = both.api.call(FUSED, data=body, headers=headers, stream=True)
    assert reply.headers["Content-Type"].startswith("multipart/x-mixed-replace")
    *frames, end = (chunk for chunk in reply.raw.stream(decode_content=False) if chunk)
    assert [chunk.count(b"Content-Type: application/x-npy") for chunk in frames] == [1, 1, 1]  # each sent when made
    assert end.endswith(b"--eden-frame--\r\n")


def test_fused_batches_as_it_was_told(both: Server):
    told = both.api.describe("eden_fused")
    assert (told["batchSize"], told["maxBatchDelay"], told["minWorkers"]) == (4, 3, 1)


def test_a_worker_that_dies_comes_back(both: Server):
    (pid,) = both.worker_pids("eden_fused")
    body = media.encode_npy(moving_frames())
    os.kill(pid, 9)
    # TorchServe never answers a call that comes as it sees a worker die, one of thirty here: then another is made.
    wait_for(lambda: both.api.call(FUSED, timeout=15, data=body, headers=BINARY).content.startswith(media.NPY_MAGIC))
    assert both.worker_pids("eden_fused") != [pid]


def test_no_archive_is_fetched_from_elsewhere(both: Server, tmp_path):
    headers = both.tokens.headers("management")
    (tmp_path / "stranger.mar").write_bytes((both.model_store / "eden_fused.mar").read_bytes())
    for url in (f"file://{tmp_path}/stranger.mar", "http://127.0.0.1:1/stranger.mar", "../stranger.mar"):
        for path in ("/models", "/workflows"):
            reply = requests.post(f"{both.management_url}{path}", params={"url": url}, headers=headers, timeout=60)
            assert reply.status_code in (400, 403, 404), (path, url, reply.text)
    assert "stranger" not in json.dumps(
        requests.get(f"{both.management_url}/models", headers=headers, timeout=60).json()
    )


def test_a_worker_that_does_not_start_is_not_given_up_within_minutes(both):
    """TorchServe multiplies by 1000 in 32 bits."""
    for model in (*both.topology.models, "autostart"):
        assert 20 * 24 * 3600 < both.api.describe(model)["maxRetryTimeoutInSec"] < 2**31 / 1000, model
