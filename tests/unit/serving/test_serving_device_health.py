"""On machines without a GPU; what a lost context looks like is tried in tests/gpu/test_broken_context.py."""

import subprocess
import sys

import pytest
import torch

from serving.device_health import context_is_lost


def test_a_cpu_has_no_context_to_lose():
    assert context_is_lost(torch.device("cpu")) is False


@pytest.mark.slow
def test_it_needs_nothing_of_torchserve():
    code = "import sys, serving.device_health; sys.exit(any(name.split('.')[0] == 'ts' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
