"""A process that sees fewer GPUs than the host has: how many workers there are, and where each computes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from handlers import quirks
from handlers.autostart import gpus


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, 2), ("1", 1), ("0,1", 2), ("1,0,3", 2), ("", 0), ("-1", 0), ("GPU-5ad", 1)]
)
def test_as_many_workers_as_gpus_that_they_see(monkeypatch, tmp_path: Path, visible, expected):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'GPU 0: A (UUID: GPU-5ad)\\n  MIG 1g: B\\nGPU 1: A (UUID: GPU-77c)\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == expected


@pytest.mark.parametrize(
    ("gpu", "visible", "device", "warns"),
    [
        (1, 2, "cuda:1", False),
        (1, 1, "cuda:0", True),
        (0, 1, "cuda:0", True),
        (3, 2, "cuda:1", True),
        (1, 0, "cpu", True),
        (None, 2, "cpu", True),
    ],
)
def test_a_worker_computes_on_a_gpu_that_it_sees(monkeypatch, caplog, gpu, visible, device, warns):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    with caplog.at_level(logging.WARNING):
        assert quirks.device_of(gpu, {"deviceIds": [1]}) == device
    assert bool(caplog.records) == warns


def test_without_a_wish_nothing_is_to_be_said(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert quirks.device_of(None, {}) == "cpu" and not caplog.records
