"""One real TorchServe for the whole session, on free ports, in a folder of its own, stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server import Server
from tests.e2e.serving import pack


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("model_store"), in_place=False)


@pytest.fixture(scope="session")
def server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(model_store, folder=tmp_path_factory.mktemp("server"), ports="free") as running:
        yield running
