"""Planes keep of a film what RGB keeps: the demo weights on a short film."""

from __future__ import annotations

import json
import sys

import pytest

from bench.film import fidelity

pytestmark = pytest.mark.slow


def test_planes_cost_no_quality(tmp_path, monkeypatch):
    out = tmp_path / "fidelity"
    monkeypatch.setattr(sys, "argv", ["fidelity", "--size", "64x112", "--frames", "9", "--out", str(out)])
    fidelity.main()
    rows = {(row["times"], row["as"]): row for row in json.loads(out.with_suffix(".json").read_text())["rows"]}
    assert len(rows) == 4
    for times in (2, 4):
        planes, rgb = rows[times, "planes"], rows[times, "RGB"]
        for name in ("rgb", "luma", "chroma"):  # colours are all that half as many samples can cost
            assert rgb[name] > 15 and planes[name] >= rgb[name] - (1.2 if name == "chroma" else 0.6)
    assert "| 4 | planes | " in out.with_suffix(".md").read_text()
