"""What the client's tests share: a server to order, and the real nodes as plain objects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.client.told import Told
from tests.unit.serving.conftest import make_nodes, networks

__all__ = ["make_nodes", "networks"]


@pytest.fixture
def told() -> Iterator[Told]:
    server = Told()
    yield server
    server.close()
