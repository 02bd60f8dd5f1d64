"""The contract suite between two GPUs: encoder and decoder in processes of their own, a GPU each."""

from __future__ import annotations

import pytest
import torch

from tests.contract.stage import start  # noqa: F401
from tests.contract.suite import *  # noqa: F403
from tests.contract.suite import Case

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")

KINDS = ("cuda_ipc", "nccl", "auto", "shared_memory", "grpc")
DIRECT = {"shared_memory": True, "nccl": False, "grpc": False}
CASES = [Case(kind, producer_device="cuda:0", consumer_device="cuda:1", direct=DIRECT.get(kind)) for kind in KINDS]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Each kind in turn."""
    return request.param
