"""What the tests of measurements share."""

from __future__ import annotations

import pytest

from eden import EdenConfig
from eden.random_weights import write_random


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A folder with a tiny network of random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    config = EdenConfig(patch_size=8, latent_dim=8, hidden_dim=16, num_heads=2, dit_depth=1, decoder_depth=1)
    write_random(folder, config)
    return folder
