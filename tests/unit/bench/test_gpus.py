"""Several GPUs of one host: equal shares of it, what counts as done, and what is told of linear."""

from __future__ import annotations

import json
import os

import pytest

from bench.gpus import report
from bench.gpus.__main__ import shares
from bench.gpus.films import Progress
from media.machine import cores


def row(gpus, rate, commands=None, **more):
    told = {"commands": commands or gpus, "preset": "medium", "gpu_busy": [0.5] * gpus, "node_cores": 3.0}
    told |= {"busiest_command_cores": 0.5, "first_segment_s": 1.0, "seconds": 9.0, "whole": True}
    return {"part": "films", "gpus": gpus, "pairs_s": rate, **told, **more}


def test_shares_are_equal_and_nobody_elses():
    found = shares(2, with_gpus=True)
    assert [share.gpu for share in found] == [0, 1]
    assert {share.processors for share in found} == {max(1, cores() // 2)}
    bound = [core for share in found for core in share.cores]
    assert len(bound) == len(set(bound)) and set(bound) <= os.sched_getaffinity(0)
    assert all(share.environment() == {} for share in shares(2, with_gpus=False))


def test_a_film_counts_by_its_segments_and_whole_once_it_is_there(tmp_path):
    targets = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    progress = Progress(targets, frames=100)
    assert (progress.look(), progress.expected) == (0, 200)
    parts = tmp_path / "a.mp4.parts"
    parts.mkdir()
    (parts / "journal.json").write_text(json.dumps({"segments": [{"frames": 12}, {"frames": 48}]}))
    assert progress.look() == 60
    (parts / "journal.json").unlink()
    assert progress.look() == 60, "a journal on its way out takes nothing back"
    targets[0].touch()
    assert progress.look() == 100


def test_linear_is_one_gpu_times_their_number_of_the_same_work():
    rows = [row(1, 100.0), row(1, 200.0, preset="ultrafast"), row(4, 300.0), row(4, 400.0, commands=1)]
    assert [report.share_of_linear(each, rows) for each in rows] == pytest.approx([1, 1, 0.75, 1])
    assert report.share_of_linear(rows[2], rows[1:]) is None


def test_the_report_tells_each_row_and_what_was_left_out(tmp_path):
    pairs = {"part": "pairs", "work": "pairs of a size", "users": 9, "p50_ms": None, "p95_ms": 7.0, "failed": 1}
    pairs |= {"gpus": 2, "pairs_s": 500.0, "gpu_busy": [], "server_cores": 4.0, "generator_cores_busiest": 0.1}
    machine = {"cpu": "a CPU", "cores": 2, "gpus": [], "python": "3", "torch": "2", "date": "today"}
    film = {"size": "48x64", "frames": 9, "lanes": 8}
    found = {"machine": machine, "precision": "fp32", "processors_per_gpu": 1, "bound_to_cores": True, "film": film}
    found |= {"rows": [row(1, 100.0), row(2, 150.0, whole=False), pairs], "left_out": ["pairs of 4"]}
    report.write(tmp_path / "gpus", found)
    told = (tmp_path / "gpus.md").read_text()
    assert "| 2 | medium | 2 | 150 | 75 % | 50 %, 50 % | 3.0 | 0.5 | 1.0 | 9.0 (then ended) |" in told
    assert "| 2 | pairs of a size | 9 | 500 |  |  | 7 | 1 |" in told and "pairs of 4." in told
    assert (tmp_path / "gpus.png").read_bytes().startswith(b"\x89PNG")
