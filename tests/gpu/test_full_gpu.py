"""A GPU that another process fills: requests are told to come back later, and are served once it is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import media
from eden import DitDecoder, EdenConfig, Encoder
from eden.decoder import Decoder
from eden.dit import Dit
from eden.patch_tokens import PatchTokens
from eden.random_weights import random_tensors
from serving.admission import Admission
from serving.backlog import Backlog
from serving.decode import Drawing
from serving.device_health import DeviceGuard
from serving.encode import ClipReader
from serving.fused import FusedService
from serving.limits import TokenLayout, clip_limits
from serving.request import Caller, Request
from serving.settings import Limits
from serving.telemetry import Silent
from tests.e2e.servers import moving_frames
from tests.unit.serving.conftest import Outbox

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.alone,  # no other test has a GPU then
]

GPU = torch.device("cuda", 0)
FILL = """
import sys, torch
held, size = [], 1 << 34
while size >= 1 << 20:
    try:
        held.append(torch.empty(size, dtype=torch.uint8, device="cuda:0"))
    except torch.OutOfMemoryError:
        size //= 2
print("full", flush=True)
sys.stdin.read()
"""


@contextmanager
def filled() -> Iterator[None]:
    """Another process holds all that is left of the GPU."""
    with subprocess.Popen([sys.executable, "-c", FILL], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"full\n"
        yield
    assert other.returncode == 0


@pytest.fixture
def node() -> Iterator[tuple[FusedService, Callable[[], None]]]:
    """A fused node of the published size on the GPU, and what gives back all memory but its weights'."""
    config, tensors = EdenConfig(), random_tensors(EdenConfig())
    networks = PatchTokens(config), Dit(config), Decoder(config)
    for network in networks:
        network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    encoder = Encoder(config, networks[0], GPU, "bf16")
    decoder = DitDecoder(config, *networks[1:], GPU, "bf16")
    layout = TokenLayout(config.hidden_dim, config.patch_size, encoder.dtype, None)

    def give_back() -> None:
        for graphs in (encoder.graphs, decoder.engine.graphs):
            graphs.clear()
        torch.cuda.empty_cache()

    with ThreadPoolExecutor(2) as requests, ThreadPoolExecutor(2) as pictures:
        reader = ClipReader(clip_limits(Limits(), layout, None), config.patch_size, pictures)
        drawing = Drawing(decoder, requests, pictures, Silent())
        admission = Admission(4, Backlog(lambda: (0, 1), 256))
        guard = DeviceGuard(GPU)
        yield FusedService(encoder, drawing, reader, layout, admission, requests, Silent(), guard), give_back


@pytest.mark.parametrize("recorded", [False, True])
def test_it_says_when_to_come_back_and_serves_again_once_there_is_room(node, recorded: bool):
    """Where passes are recorded, those that ran before may do without more; or do, once they have given theirs back."""
    service, give_back = node
    body = media.encode_npy(moving_frames(3, 480, 854))

    def ask():
        (answer,) = service.serve([Request(0, {"body": body}, {}, Caller.HTTP)], Outbox())
        return answer

    wanted = ask()
    assert wanted.status == 200, wanted.body[:500]
    if recorded:
        torch.cuda.empty_cache()
    else:
        give_back()
    with filled():
        for _ in range(3):
            answer = ask()
            assert answer.status in ((200, 503) if recorded else (503,)), answer.body[:500]
            if answer.status == 503:
                told = json.loads(answer.body)
                assert (told["type"], told["retry"], answer.retry_after) == ("OutOfMemory", "later", 5)
            print(answer.status, end=" ")
    answer = ask()
    assert answer.status == 200, answer.body[:500]
    got, before = (media.decode_npy(each.body, max_pixels=10**6, max_frames=9).astype(int) for each in (answer, wanted))
    assert np.abs(got - before).mean() < 0.5  # in smaller passes for a while, in bf16
