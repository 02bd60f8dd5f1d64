"""One real TorchServe for the whole session, on free ports, in a folder of its own, stopped at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server import Server
from server.settings import PROJECT

PREDICT = "/predictions/eden__encoder", "/predictions/eden__dit_decoder"
WORKFLOW = "/wfpredict/eden"


def pack(folder: Path, *options: str) -> Path:
    """A model store built by archive.sh with these options."""
    built = subprocess.run(
        [str(PROJECT / "archive.sh"), "--output", str(folder), *options], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("model_store"))


@pytest.fixture(scope="session")
def server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(model_store, folder=tmp_path_factory.mktemp("server"), ports="free") as running:
        yield running


def moving_frames(count: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """[K, H, W, 3] uint8: a soft texture that moves four pixels a frame, of its own for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + count + 2, 3)).astype(np.float32)
    fine = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([fine[4 : 4 + height, 4 * i : 4 * i + width] for i in range(count)]).astype(np.uint8)
