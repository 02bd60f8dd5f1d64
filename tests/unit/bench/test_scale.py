"""What binds at scale: the arithmetic, and that what is measured is the film's own planner and join."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.scale import film, recorded, report
from bench.scale.bounds import bounds

COSTS = {
    "machine": {"cpu": "a processor", "cores": 2, "gpus": [], "python": "3", "torch": "2", "date": "today"},
    "gpu": {"name": "GPU", "from": "a.json", "pairs_per_second": {"calls": 200.0, "clips": 500.0}},
    "encode": {"cpu": "another", "from": "b.json", "core_s_per_frame": {"medium": 0.1}},
    "film": {
        "planner": {
            "decode_cpu_s_per_frame": 0.004,
            "plan_cpu_s_per_frame": 0.001,
            "bytes_per_job": 7000.0,
            "frames_per_job": 50,
        },
        "join": {"cpu_s_per_frame": 0.0001, "bytes_per_frame": 20_000.0},
    },
    "proxy": [
        {"name": "pairs", "sent": 10**6, "received": 5 * 10**5, "pairs": 1, "buffer": None, "cpu_s_per_call": 0.0005},
        {
            "name": "clips",
            "sent": 10**6,
            "received": 2 * 10**6,
            "pairs": 10,
            "buffer": None,
            "cpu_s_per_call": 0.002,
        },
        {
            "name": "small",
            "sent": 10**6,
            "received": 5 * 10**5,
            "pairs": 1,
            "buffer": 16384,
            "cpu_s_per_call": 0.0001,
        },
    ],
    "ray": {
        "from": "c.json",
        "driver_s_per_job": 0.01,
        "own_s_per_job": 0.02,
        "bytes_per_job": 2_500_000.0,
        "frames_per_job": 100.0,
    },
}


def test_each_part_feeds_as_many_gpus_as_its_cost_says():
    """A GPU draws 200 pairs alone, or 500 in clips, which are 1,000 frames of a film, of 10 jobs."""
    found = {bound.part: bound for bound in bounds(COSTS)}
    assert {part: bound.gpus for part, bound in found.items()} == pytest.approx(
        {
            "HAProxy, pairs": 10,  # 0.1 s of a core per second
            "HAProxy's network, pairs": 62.5,  # 1.6 Gbit/s
            "HAProxy, small": 50,
            "HAProxy, clips": 10,  # 50 calls
            "HAProxy's network, clips": 125,  # 50 times 16 Mbit
            "planner, what threads hardly share": 2,
            "planner, decoding": 0.5,
            "encoding, medium": 0.01,
            "join": 10,
            "Ray, the command's part of a job": 10,
            "Ray, its own processes": 5,
            "Ray's object store, at the command": 500,  # 0.2 Gbit/s
        }
    )
    assert found["encoding, medium"].needed(1000) == pytest.approx(100_000)


def test_the_report_has_every_part():
    lines = report.text(COSTS).splitlines()
    for bound in bounds(COSTS):
        assert sum(line.startswith(f"| {bound.part} |") for line in lines) == 1
    without = {name: cost for name, cost in COSTS.items() if name != "ray"}
    assert "Ray" not in report.text(without)


def test_costs_are_of_a_films_own_planner_and_join(tmp_path: Path):
    path = film.draw(tmp_path, (64, 96), 400)
    planner = film.planner(path)
    assert planner.frames_per_job == 48  # LONGEST frames of the result
    assert min(planner.decode_cpu_s_per_frame, planner.bytes_per_job) > 0
    join = film.joiner(path, tmp_path, 3, "ultrafast")
    assert join.cpu_s_per_frame > 0 and join.bytes_per_frame > 100
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_others_recorded_is_found():
    gpu, encode = recorded.gpu(), recorded.encode()
    assert gpu["pairs_per_second"]["clips"] > gpu["pairs_per_second"]["calls"] > 100
    assert encode["core_s_per_frame"]["medium"] > encode["core_s_per_frame"]["veryfast"] > 0
