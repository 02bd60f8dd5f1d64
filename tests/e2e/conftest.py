"""One real TorchServe for each process that runs tests, on free ports, in a folder of its own, stopped at the end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import Server
from tests.e2e.servers import TAKEN, moving_frames, pack, running_server
from tests.orphans import no_orphans as no_orphans


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed by the first of the processes that share the tests. It stays as it is, but tests may add their models."""
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
    with running_server(model_store, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def own_server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that stop it, start it and kill its workers: it runs and answers after each of them."""
    with running_server(model_store, tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Both topologies, with batches of four; a clip of more than TAKEN frames of 64x112 is too large for either.

    Of its own process: see tests/conftest.py.
    """
    payload = _payload_bytes(tmp_path_factory.mktemp("weights"))
    limits = {
        "handoff.max_payload_bytes": payload,
        "handoff.budget_bytes": 8 * payload,
        "eden_fused:limits.max_frames": TAKEN,
        "threads": 1,  # of which rounding depends
    }
    options = [part for key, value in limits.items() for part in ("--set", f"{key}={value}")]
    store = pack(tmp_path_factory.mktemp("store"), "--topology", "both", "--batch-size", "4", *options)
    with running_server(store, tmp_path_factory.mktemp("both")) as running:
        yield running


def _payload_bytes(weights: Path) -> int:
    """What the tokens of TAKEN frames take."""
    import torch  # here, since it takes two seconds to import, and few tests need it

    from eden import Encoder
    from eden.random_weights import write_random
    from handoff.payload.layout import Layout

    write_random(weights)  # what `pack` packs
    clip = torch.from_numpy(moving_frames(TAKEN, 64, 112)).permute(0, 3, 1, 2)
    return Layout.of(Encoder.load(weights).encode(clip), wire=None).nbytes
