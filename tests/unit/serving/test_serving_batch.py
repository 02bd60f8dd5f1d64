"""A batch: what fails of one spares the others, and a lost device is told as what it is."""

from __future__ import annotations

import json

import pytest
import torch

from serving import device_health
from serving.batch import Batch
from serving.device_health import DeviceGuard
from serving.request import Request

REQUESTS = [Request(index, {}, {}) for index in range(3)]


def fail_over_the_second(request: Request) -> int:
    if request.index == 1:
        raise RuntimeError("CUDA error: device-side assert triggered")
    return request.index


@pytest.mark.parametrize(("lost", "code", "kind"), [(True, 503, "DeviceLost"), (False, 500, "InternalError")])
def test_a_lost_device_is_told_as_such_and_remembered(monkeypatch, lost, code, kind):
    monkeypatch.setattr(device_health, "context_is_lost", lambda device: lost)  # no GPU here: see tests/gpu
    guard = DeviceGuard(torch.device("cpu"))
    batch = Batch(REQUESTS, guard)
    assert batch.each(REQUESTS, fail_over_the_second) == [0, 2]
    told = json.loads(batch.answer_to(REQUESTS[1]).body)
    assert (told["code"], told["type"], told["retry"]) == (code, kind, "later")
    assert "assert" not in told["message"]
    assert guard.lost is lost


def test_an_error_of_the_callers_own_loses_no_device(monkeypatch):
    monkeypatch.setattr(device_health, "context_is_lost", lambda device: pytest.fail("it was asked"))
    guard = DeviceGuard(torch.device("cpu"))
    batch = Batch(REQUESTS, guard)
    batch.fail(REQUESTS[0], ValueError("x"))
    assert not guard.lost


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("CUDA error: out of memory")],
    ids=lambda error: type(error).__name__,
)
def test_what_memory_was_too_short_for_may_be_tried_again_soon_and_spares_the_others(error):
    """As of tokens that do not fit the decoder's GPU; for what runs out in a network see test_serving_nodes."""

    def take(request: Request) -> int:
        if request.index == 1:
            raise error
        return request.index

    batch = Batch(REQUESTS, DeviceGuard(torch.device("cpu")))
    assert batch.each(REQUESTS, take) == [0, 2]
    answer = batch.answer_to(REQUESTS[1])
    told = json.loads(answer.body)
    assert (told["code"], told["type"], told["retry"]) == (503, "OutOfMemory", "later")
    assert answer.status == 503 and answer.retry_after == told["retry_after"] == 5
    assert "CUDA" not in told["message"]
