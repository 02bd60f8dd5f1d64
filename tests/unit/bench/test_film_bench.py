"""A whole run of bench.film on a tiny film."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from bench.film import __main__ as bench
from bench.film import ways
from bench.film.report import DRAWN, markdown
from bench.topologies.weights import TINY
from eden.random_weights import write_random


def measured(out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> dict[str, dict]:
    options = ["--sizes", "48x64", "--presets", "ultrafast", "--frames", "50", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["bench.film", *options, *more])
    bench.main()
    rows = {row["way"]: row for row in json.loads(out.with_suffix(".json").read_text())["rows"]}
    assert all(row["frames"] > 0 and row["seconds"] > 0 for row in rows.values())
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    for way in rows:
        assert f"| {way} |" in out.with_suffix(".md").read_text()
    rows.pop("ffmpeg", None)
    return rows


def test_each_way_is_measured_and_told(tmp_path, monkeypatch):
    rows = measured(tmp_path / "results" / "film", monkeypatch)
    assert set(rows) == {"all cores writing", "client alone"}
    alone = rows["client alone"]
    assert (alone["frames"], alone["pairs"]) == (99, 49)
    assert alone["seconds"] > alone["stages"]["total"] > 0


def test_rows_are_chosen(tmp_path, monkeypatch):
    assert set(measured(tmp_path / "film", monkeypatch, "--rows", "writing")) == {"all cores writing"}


HOLDS = """
import json, sys
from pathlib import Path
held = b"x" * (40 << 20)
while not Path(sys.argv[1]).exists():
    pass
print(json.dumps({"frames_out": 3, "seconds": {"total": 1}, "traffic": {"pairs": 1}}))
"""


def test_the_most_memory_that_a_command_held_is_told(tmp_path, monkeypatch):
    seen, memory = tmp_path / "seen", ways._memory

    def watching(process: psutil.Process) -> int:
        if (held := memory(process)) > 40 << 20:
            seen.touch()  # it holds all that it ever will: it may end
        return held

    monkeypatch.setattr(ways, "_memory", watching)
    told = ways._watched([sys.executable, "-c", HOLDS, str(seen)])
    assert told["frames"] == 3 and 40 << 20 < told["peak_bytes"] < 160 << 20


@pytest.mark.skipif("EDEN_BENCH" not in os.environ, reason="starts a server of its own: EDEN_BENCH=1")
def test_with_weights_the_model_is_measured_and_served(tmp_path, monkeypatch):
    write_random(tmp_path / "weights", TINY)
    monkeypatch.setattr(bench, "ENGINE_S", 0.3)
    options = ["--checkpoint", str(tmp_path / "weights"), "--devices", "cpu", "--rows", "engine", "served", "written"]
    rows = measured(tmp_path / "film", monkeypatch, *options)
    assert set(rows) == {"engine", "served", DRAWN}
    assert (rows["served"]["frames"], rows["served"]["pairs"]) == (99, 49)


def test_shares_are_of_the_same_size_and_preset():
    machine = {"cpu": "a CPU", "cores": 2, "gpus": [], "date": "today"}
    ways = {
        "fast": {"ffmpeg": 1.0, "client alone": 2.0},
        "slow": {"ffmpeg": 4.0, "all cores writing": 2.0, DRAWN: 5.0, "engine": 4.0, "served": 8.0},
    }
    rows = [
        {"size": "1x1", "preset": preset, "way": way, "frames": 100, "seconds": seconds}
        for preset, times in ways.items()
        for way, seconds in times.items()
    ]
    text = markdown({"machine": machine, "weights": "demo", "memory": 2 << 30, "rows": rows})
    assert "Weights: demo." in text
    assert "| client alone | 50.0 | 0.50 |  |  |" in text and "| ffmpeg | 25.0 | 1.00 | 0.50 | 1.25 |" in text
    assert "| served | 12.5 | 0.50 | 0.25 | 0.62 |" in text
