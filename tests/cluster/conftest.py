"""A Ray cluster of two nodes of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.cluster.nodes import Nodes
from server.settings import PROJECT


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """A head and another node, with a processor each; more may be added."""
    with Nodes({"PYTHONPATH": str(PROJECT)}) as made:
        made.start_head(1)
        made.add(1)
        yield made
