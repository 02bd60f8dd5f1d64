"""What a call costs HAProxy is measured of HAProxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.proxy import haproxy
from bench.scale.proxy import Call, measure


@pytest.mark.skipif(
    haproxy.PROGRAM is None,
    reason="HAProxy is not installed (Debian: apt install haproxy)",
)
def test_calls_of_more_bytes_cost_more(tmp_path: Path):
    small = measure(Call("small", 100, 100, 1), 1.0, tmp_path)
    large = measure(Call("large", 4_000_000, 4_000_000, 1), 1.0, tmp_path)
    assert min(small.calls, large.calls) > 0
    assert small.cpu_s_per_call < large.cpu_s_per_call
