"""What only GPUs can show: which way is taken, what happens on one GPU, and that device memory comes back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from handoff import HandoffError, HandoffSettings, PeerLost, open_handoff
from tests.contract.peers import Peer, digest, make_output, wait_until

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
SIZE = {"length": 2, "tokens": 2049, "width": 1024}
"""32 MB."""


@contextlib.contextmanager
def peers(*devices: str, **settings: object) -> Iterator[list[Peer]]:
    """A peer on each device, with the same settings."""
    started = [Peer(HandoffSettings(**settings), device) for device in devices]
    try:
        yield started
    finally:
        for peer in started:
            peer.end()


@two_gpus
def test_ipc_stands_alone_once_a_consumer_has_shown_that_it_can(tmp_path: Path) -> None:
    with peers("cuda:0", "cuda:1", kind="auto", folder=tmp_path) as (producer, consumer):
        reader = open_handoff(HandoffSettings(kind="inline", folder=tmp_path))
        for wanted in (["cuda_ipc", "shared_memory", "http"], ["cuda_ipc", "http"]):
            ticket = producer.ask("put", seed=1, **SIZE)
            assert [route["kind"] for route in reader.read(ticket).routes] == wanted
            assert consumer.ask("take", ticket) == digest(make_output(1, **SIZE))
        assert consumer.ask("counters")["take", "cuda_ipc"] == 2


def test_a_consumer_without_a_gpu_takes_the_next_way_and_the_producer_learns(tmp_path: Path) -> None:
    with peers("cuda:0", "cpu", kind="cuda_ipc", folder=tmp_path) as (producer, consumer):
        for _ in range(2):
            assert consumer.ask("take", producer.ask("put", seed=1, **SIZE)) == digest(make_output(1, **SIZE))
        assert consumer.ask("counters")["take", "shared_memory"] == 2
        assert consumer.ask("counters")["fallback", "cuda_ipc"] == 1
        assert producer.ask("counters")["fallback", "cuda_ipc"] == 1


def test_one_gpu_is_enough_for_ipc(tmp_path: Path) -> None:
    with peers("cuda:0", "cuda:0", kind="cuda_ipc", folder=tmp_path) as (producer, consumer):
        assert consumer.ask("take", producer.ask("put", seed=1, **SIZE)) == digest(make_output(1, **SIZE))
        assert consumer.ask("counters")["take", "cuda_ipc"] == 1


def test_nccl_on_one_gpu_says_what_it_needs(tmp_path: Path) -> None:
    with (
        peers("cuda:0", "cuda:0", kind="nccl", folder=tmp_path) as (producer, consumer),
        pytest.raises(HandoffError, match="a GPU for each side"),
    ):
        consumer.ask("take", producer.ask("put", seed=1, **SIZE))


@pytest.mark.parametrize(("largest", "large"), [(1 << 30, 950), (600 << 20, 590)])
def test_a_large_payload_fits_after_many_small_ones(largest: int, large: int, tmp_path: Path) -> None:
    settings = {"budget_bytes": 1 << 30, "max_payload_bytes": largest, "keep_taken": 72, "timeout_s": 30.0}
    with peers("cuda:0", "cuda:0", kind="cuda_ipc", folder=tmp_path, **settings) as (producer, consumer):
        small = digest(make_output(1, **SIZE))
        for _ in range(40):  # 1,280 MB: the budget has been full of them
            assert consumer.ask("take", producer.ask("put", seed=1, **SIZE)) == small
        spec = {"seed": 2, "length": 2, "tokens": large * 64, "width": 1024}  # `large` MiB
        wanted = digest(make_output(**spec))
        for _ in range(2):
            assert consumer.ask("take", producer.ask("put", **spec)) == wanted
        assert consumer.ask("take", producer.ask("put", seed=1, **SIZE)) == small
        assert consumer.ask("counters")["take", "cuda_ipc"] == 43


@two_gpus
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["cuda_ipc", "nccl"])
def test_device_memory_comes_back_after_close_and_after_a_kill(kind: str, tmp_path: Path) -> None:
    def used(device: int) -> int:
        free, total = torch.cuda.mem_get_info(device)
        return total - free

    idle = [used(0), used(1)]
    with peers("cuda:0", "cuda:1", kind=kind, folder=tmp_path) as (producer, consumer):
        for seed in range(3):
            consumer.ask("take", producer.ask("put", seed=seed, **SIZE))
        ticket = producer.ask("put", seed=9, **SIZE)
        producer.kill()
        with pytest.raises(PeerLost):
            consumer.ask("take", ticket)
        with peers("cuda:0", kind=kind, folder=tmp_path) as (replacement,):
            assert consumer.ask("take", replacement.ask("put", seed=2, **SIZE)) == digest(make_output(2, **SIZE))
            consumer.ask("close")
            replacement.ask("close")
    assert wait_until(lambda: all(used(i) <= idle[i] + (64 << 20) for i in (0, 1)), 5), (idle, used(0), used(1))


@two_gpus
def test_in_process_goes_from_gpu_to_gpu(tmp_path: Path) -> None:
    with open_handoff(HandoffSettings(kind="in_process", folder=tmp_path), "cuda:1") as handoff:
        output = handoff.take(handoff.put(make_output(1, device="cuda:0", **SIZE)))
        assert output.cond_dit.device == torch.device("cuda:1")
        assert digest(output) == digest(make_output(1, **SIZE))


@two_gpus
@pytest.mark.parametrize("kind", ["cuda_ipc", "nccl", "shared_memory", "http", "inline"])
def test_tokens_are_converted_on_the_way(kind: str, tmp_path: Path) -> None:
    with peers("cuda:0", "cuda:1", kind=kind, folder=tmp_path, wire="bf16") as (producer, consumer):
        sent = make_output(1, **SIZE)
        arrived = consumer.ask("take", producer.ask("put", seed=1, **SIZE))
        with open_handoff(HandoffSettings(kind="in_process", folder=tmp_path, wire="bf16")) as here:
            assert arrived == digest(here.take(here.put(sent)))


@two_gpus
@pytest.mark.parametrize("kind", ["cuda_ipc", "nccl", "shared_memory", "grpc"])
def test_a_clip_streams_to_the_gpu(kind: str, tmp_path: Path) -> None:
    with peers("cuda:0", "cuda:1", kind=kind, folder=tmp_path) as (producer, consumer):
        clip = {"seed": 3, "length": 6, "tokens": 513, "width": 256, "frames": True}
        assert consumer.ask("stream", producer.ask("put", **clip)) == [digest(pair) for pair in make_output(**clip)]
