"""The examples that need neither a server nor a cluster do what their docstrings say, as they say it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eden.random_weights import write_random
from server.settings import PROJECT
from tests.e2e.servers import assert_same

pytestmark = pytest.mark.slow
PATIENCE = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, and small random weights."""
    made = tmp_path_factory.mktemp("examples")
    write_random(made / "weights")
    for number in (1, 2):
        picture = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(picture).save(made / f"{number}.png")
    return made


@contextmanager
def running(name: str, *arguments: object, **pipes: int) -> Iterator[subprocess.Popen[str]]:
    """An example as a process of its own, which ends with the block."""
    command = [sys.executable, "-m", f"examples.{name}", *map(str, arguments)]
    environment = os.environ | {"EDEN_HANDOFF_KEY": "a key that both of them have"}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def picture_at(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_library_and_two_machines_draw_the_same(folder: Path) -> None:
    pictures, weights = (folder / "1.png", folder / "2.png"), ("--checkpoint", folder / "weights")
    with running("library", *pictures, folder / "here.png", *weights) as alone:
        assert alone.wait(PATIENCE) == 0
    with running("two_machines", "encode", *pictures, *weights, stdout=subprocess.PIPE) as encoding:
        assert encoding.stdout
        ticket = encoding.stdout.readline()
        with running("two_machines", "draw", folder / "there.png", *weights, stdin=subprocess.PIPE) as drawing:
            drawing.communicate(ticket, PATIENCE)
            assert drawing.returncode == 0
        assert encoding.wait(PATIENCE) == 0, "it stays though its tokens have been taken"
    here = picture_at(folder / "here.png")
    assert here.shape == (48, 64, 3)
    assert_same([here], [picture_at(folder / "there.png")])


def test_a_custom_transport_brings_what_was_put() -> None:
    with running("custom_transport", stdout=subprocess.PIPE) as process:
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "arrived" in printed
