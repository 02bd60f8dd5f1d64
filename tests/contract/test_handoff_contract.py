"""The contract suite for the kinds that need no GPU."""

from __future__ import annotations

import pytest

from tests.contract.stage import start  # noqa: F401
from tests.contract.suite import *  # noqa: F403
from tests.contract.suite import Case

CASES = [
    Case("inline", held=False, direct=True),
    Case("shared_memory", direct=True),
    Case("http"),
    Case("websocket"),
    Case("grpc"),
    Case("zeromq"),
    Case("nccl"),
    Case("auto", direct=True),
]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Each kind in turn."""
    return request.param
