"""A small run of what measures the ways of frames to a server."""

from __future__ import annotations

import os

import pytest

from bench.topologies.plan import Work
from bench.transport.__main__ import measure


@pytest.mark.skipif(not os.environ.get("EDEN_BENCH"), reason="starts a server of its own: EDEN_BENCH=1")
def test_both_ways_are_measured(tmp_path):
    found = measure(Work((48, 64), 3, "npy", batch=1, users=1), 2, tmp_path)
    assert {name: len(seconds) for name, seconds in found.items()} == {"npy": 2, "region": 2}
    assert all(min(seconds) > 0 for seconds in found.values())
