"""Reads what other benchmarks have recorded: how much a GPU draws, and what encoding a frame and Ray cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.settings import PROJECT

RESULTS = PROJECT / "bench" / "results"
CAPACITY = RESULTS / "capacity-2xh100-batch16.json"
FILMS = RESULTS / "film-2xh100-480x854.json"
CLUSTER = RESULTS / "cluster-cpu.json"
SIZE = (480, 854)


def gpu(path: Path = CAPACITY) -> dict[str, Any]:
    """Pairs per second and GPU, answered to callers: as single pairs (`calls`), and in clips of 24 (`clips`)."""
    report = json.loads(path.read_text())
    gpus = report["machine"]["gpus"]

    def best(clip: int) -> float:
        rows = (row for row in report["rows"] if row["kind"] == "sweep" and row["format"] == "jpeg")
        return max(
            float(row["pairs_a_second"]) for row in rows if (row["height"], row["width"], row["clip"]) == (*SIZE, clip)
        )

    return {
        "name": gpus[0],
        "from": path.name,
        "pairs_per_second": {"calls": best(2) / len(gpus), "clips": best(24) / len(gpus)},
    }


def encode(path: Path = FILMS) -> dict[str, Any]:
    """Core-seconds of encoding per frame of the result, by preset of libx264; half of the frames were drawn by EDEN."""
    report = json.loads(path.read_text())
    cores = report["machine"]["cores"]
    rows = [row for row in report["rows"] if row["way"] == "all cores writing what was served"]
    return {
        "cpu": report["machine"]["cpu"],
        "from": path.name,
        "core_s_per_frame": {row["preset"]: cores * row["seconds"] / row["frames"] for row in rows},
    }


def ray(path: Path = CLUSTER) -> dict[str, Any] | None:
    """What a job costs the driver besides planning and joining, and Ray's own processes; None: not recorded.

    Costs are in core-seconds per job, and in bytes per job through the object store.
    """
    if not path.exists():
        return None
    rows = json.loads(path.read_text())["driver"]
    (row,) = (row for row in rows if row["size"] == f"{SIZE[0]}x{SIZE[1]}")
    cost = row["cpu_ms_per_job"]
    return {
        "from": path.name,
        "driver_s_per_job": 1e-3 * (cost["cutting"] + cost["sending, receiving, journal"]),
        "own_s_per_job": 1e-3 * cost["Ray's own processes"],
        "bytes_per_job": sum(row["bytes_per_job"].values()),
        "frames_per_job": row["frames"] / row["jobs"],
    }
