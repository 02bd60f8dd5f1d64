"""A whole report of a small run, on the GPU where there is one, and its parts against values known by hand."""

from __future__ import annotations

import json
import sys
from itertools import islice

import numpy as np
import torch

from bench.jpeg import __main__ as jpeg
from bench.jpeg.report import markdown

SIZE = (48, 80)


def test_a_small_run_measures_every_case(tmp_path, monkeypatch):
    monkeypatch.setattr(jpeg, "SIZES", (SIZE,))
    monkeypatch.setattr(jpeg, "COMPARED", SIZE)
    out = tmp_path / "results" / "jpeg"
    monkeypatch.setattr(sys, "argv", ["bench.jpeg", "--seconds", "0.001", "--out", str(out)])
    threads = torch.get_num_threads()
    try:
        jpeg.main()
    finally:
        torch.set_num_threads(threads)
    results = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    has_gpu = "unavailable" not in results
    assert torch.cuda.is_available() or not has_gpu
    cases = {(row["way"], row["work"], row["batch"]) for row in results["times"]}
    ways = {"libjpeg": (1, 2, 16), "libjpeg, threads": (2, 16)} | ({"nvjpeg": (1, 2, 16)} if has_gpu else {})
    wanted = {(way, work, batch) for way, batches in ways.items() for batch in batches for work in ("decode", "encode")}
    assert cases == wanted | {(way, "pair", 1) for way in ways if way != "libjpeg"}
    assert all(row["ms"] > 0 for row in results["times"])
    assert len(results["decoded"]) == (6 if has_gpu else 0)
    same = [row for row in results["encoded"] if row["encoder"] == "libjpeg 4:2:0"]
    assert [row["quality"] for row in same] == [95, 90, 75]
    for row in results["encoded"]:
        limit = next(each["bytes"] for each in same if each["asked"] == row["asked"])
        assert row["quality"] == row["asked"] or row["bytes"] <= limit
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| 48x80 | 16 | encode |" in text and ("nvJPEG was not measured" in text) != has_gpu


def test_photographs_differ_and_have_the_size_asked_for():
    frames = list(islice(jpeg.photographs(SIZE), max(jpeg.BATCHES)))
    assert len({frame.tobytes() for frame in frames}) == max(jpeg.BATCHES)
    assert all(frame.shape == (*SIZE, 3) and frame.dtype == np.uint8 and frame.std() > 10 for frame in frames)


def test_the_finest_quality_that_fits_is_found():
    def encode(quality: int) -> list[bytes]:
        return [bytes(quality), bytes(2 * quality)]

    assert [jpeg.finest(encode, limit) for limit in (0, 2, 3, 179, 180, 299, 1000)] == [1, 1, 1, 59, 60, 99, 100]


def test_the_ratio_is_to_the_faster_of_libjpegs_ways():
    row = {"size": "480x854", "batch": 16, "work": "decode"}
    results = {
        "machine": {"gpus": ["a GPU"], "cpu": "a CPU", "cores": 16, "torch": "2", "date": "today"},
        "device": "cuda", "threads": 16, "quality": 95, "compared": "480x854", "photographs": ["coffee"],
        "times": [
            {**row, "way": "libjpeg", "ms": 3.0},
            {**row, "way": "libjpeg, threads", "ms": 0.5},
            {**row, "way": "nvjpeg", "ms": 0.1},
        ],
        "decoded": [], "encoded": [],
    }  # fmt: skip
    assert "| 480x854 | 16 | decode | 3 | 0.5 | 0.1 | 5.0 x |" in markdown(results)
