"""One real TorchServe for each process that runs tests, on free ports, in a folder of its own, stopped at the end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import Server
from tests.e2e.servers import pack


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed by the first of the processes that share the tests; to be read only."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    store = folder / "model_store"
    with (folder / "model_store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (store / "eden.war").exists():
            pack(store, in_place=False)
    return store


@pytest.fixture(scope="session")
def server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(model_store, folder=tmp_path_factory.mktemp("server"), ports="free") as running:
        yield running
