"""The example of a Ray cluster draws what one process draws."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eden.random_weights import write_random
from examples.library import between
from server.settings import PROJECT
from tests.e2e.servers import assert_same

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-cluster installs it")


def test_actors_of_two_nodes_draw_in_order(tmp_path: Path, nodes) -> None:
    write_random(tmp_path / "weights")
    pictures = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(4)]
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    told = "--address", nodes.address, "--checkpoint", tmp_path / "weights"
    command = [sys.executable, "-m", "examples.ray_pictures", tmp_path / "between", *paths, *told]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    made = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "between").iterdir())]
    wanted = [between(one, other, tmp_path / "weights") for one, other in pairwise(pictures)]
    assert len(made) == 3
    assert_same(made, wanted)
