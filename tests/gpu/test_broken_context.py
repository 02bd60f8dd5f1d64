"""A CUDA context that is lost is known for it, and one that only ran out of memory is not."""

import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

BREAK = """
import os
import torch
from serving.device_health import context_is_lost

gpu = torch.device("cuda", 0)
table, rows = torch.arange(8.0, device=gpu), torch.tensor([10**6], device=gpu)
said = [context_is_lost(gpu)]

try:
    torch.empty(2**45, dtype=torch.uint8, device=gpu)
except torch.OutOfMemoryError:
    said.append(context_is_lost(gpu))
torch.cuda.set_per_process_memory_fraction(0.0, gpu)
torch.cuda.empty_cache()
try:
    torch.empty(2**30, dtype=torch.uint8, device=gpu)
except torch.OutOfMemoryError:
    said.append(context_is_lost(gpu))
torch.cuda.set_per_process_memory_fraction(1.0, gpu)
table @ table  # it computes on

try:
    table[rows].cpu()
except RuntimeError as error:
    assert "device-side assert" in str(error), error
    said += [context_is_lost(gpu), context_is_lost(gpu), context_is_lost(torch.device("cpu"))]
print(*said, flush=True)
os._exit(0)  # what a lost context makes of an orderly end is another matter
"""


def test_a_failed_assertion_on_the_device_loses_the_context_and_short_memory_does_not():
    done = subprocess.run([sys.executable, "-c", BREAK], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["False", "False", "False", "True", "True", "False"], done.stderr[-2000:]
