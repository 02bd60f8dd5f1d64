"""A film, and a service that most tests share."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from media import encode_video
from tests.unit.web.services import AWAY, PATIENCE, running

COUNT = 60


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """60 pictures of 48x64, in 2.4 seconds."""
    random = np.random.default_rng(1)
    base = random.integers(0, 255, (48, 64 + COUNT, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("films") / "in.mp4"
    encode_video([np.ascontiguousarray(base[:, i : i + 64]) for i in range(COUNT)], Fraction(25), path)
    return path


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service") / "web", film_options=AWAY) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """One that makes no film, and whose EDEN server is away. It tells cuts when it has all of them."""
    options = {"at_once": 0, "film_options": AWAY, "wait_s": PATIENCE}
    with running(tmp_path_factory.mktemp("service") / "web", **options) as visitor:
        yield visitor


@pytest.fixture
def held(tmp_path, monkeypatch):
    """Films get no further than their first two segments until this file is removed; while it says "0", not so far."""
    hold = tmp_path / "hold"
    hold.touch()
    monkeypatch.setenv("HOLD", str(hold))
    return hold
