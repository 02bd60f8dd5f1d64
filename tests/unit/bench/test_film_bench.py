"""A whole run of bench.film on a tiny film."""

from __future__ import annotations

import json
import sys

from bench.film import __main__ as bench
from bench.film.report import markdown


def test_each_way_is_measured_and_told(tmp_path, monkeypatch):
    out = tmp_path / "results" / "film"
    options = ["--sizes", "48x64", "--presets", "ultrafast", "--frames", "50", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["bench.film", *options])
    bench.main()
    rows = {row["way"]: row for row in json.loads(out.with_suffix(".json").read_text())["rows"]}
    assert set(rows) - {"ffmpeg"} == {"all cores writing", "client alone"}
    alone = rows["client alone"]
    assert (alone["frames"], alone["pairs"]) == (99, 49)
    assert alone["seconds"] > alone["stages"]["total"] > 0 and alone["peak_bytes"] > 10 << 20
    assert all(row["frames"] > 0 and row["seconds"] > 0 for row in rows.values())
    assert "| client alone |" in out.with_suffix(".md").read_text()


def test_shares_are_of_the_same_size_and_preset():
    machine = {"cpu": "a CPU", "cores": 2, "gpus": [], "date": "today"}
    rows = [
        {"size": "1x1", "preset": preset, "way": way, "frames": 100, "seconds": seconds}
        for preset, times in (("fast", {"ffmpeg": 1.0, "client alone": 2.0}), ("slow", {"ffmpeg": 4.0}))
        for way, seconds in times.items()
    ]
    text = markdown({"machine": machine, "memory": 2 << 30, "rows": rows})
    assert "| client alone | 50.0 | 0.50 |  |" in text and "| ffmpeg | 25.0 | 1.00 |  |" in text
