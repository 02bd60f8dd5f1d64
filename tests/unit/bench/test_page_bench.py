"""A visitor's waiting is measured as it is."""

from __future__ import annotations

import json
import os
import sys
from fractions import Fraction

import numpy as np
import pytest

from bench.page import __main__ as bench
from bench.page import visits
from bench.strategies import film_frames
from eden.random_weights import write_random
from eden_client.cli import connect as command
from media import encode_image, encode_video
from tests.unit.web.services import AWAY, Blending, running


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "EdenClient", Blending)
    with running(tmp_path / "web", at_once=0) as visitor:
        yield visitor.url


def test_previews(service, tmp_path):
    encode_video(film_frames(12, 64, 96), Fraction(12), tmp_path / "film.mp4", crf=17)
    taken = visits.previews(service, tmp_path / "film.mp4", 0.9, 3, "png")
    assert {name: times["count"] for name, times in taken.items()} == {"whole": 3, "server": 3, "added": 3}
    assert taken["whole"]["p50_ms"] > taken["added"]["p50_ms"] > 0


def test_live(service):
    pictures = [encode_image(frame, "jpeg", 85) for frame in film_frames(4, 64, 96)]
    windows = (visits.live(service, pictures, 40, 0, 0.5) for _ in range(60))
    row = next(row for row in windows if row["delay"])  # a busy machine may let one pass
    assert row["pairs_s"] == row["delay"]["count"] / 0.5 and row["delay"]["p50_ms"] > 0


def test_live_that_cannot_be_drawn_ends_it(tmp_path):
    picture = encode_image(np.zeros((64, 96, 3), np.uint8), "jpeg", 85)
    with running(tmp_path / "web", at_once=0, film_options=AWAY) as visitor, pytest.raises(SystemExit) as ended:
        visits.live(visitor.url, [picture], 40, 0, 60)
    assert "127.0.0.1:9" in str(ended.value)


def test_a_service_that_cannot_start_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="no-such-option"), visits.service(tmp_path, ["--no-such-option"]):
        pass


@pytest.mark.skipif("EDEN_BENCH" not in os.environ, reason="starts a server of its own: EDEN_BENCH=1")
def test_a_whole_run(tmp_path, monkeypatch):
    write_random(tmp_path / "weights")
    options = ["--checkpoint", str(tmp_path / "weights"), "--out", str(tmp_path / "page"), "--sizes", "64x96"]
    monkeypatch.setattr(sys, "argv", ["bench.page", *options, "--pairs", "2", "--seconds", "10", "--warm", "1"])
    bench.main()
    rows = json.loads((tmp_path / "page.json").read_text())["rows"]
    assert [row["what"] for row in rows] == ["preview"] * 2 + ["live"] * 2
    assert "| 64x96 | jpeg | 2 |" in (tmp_path / "page.md").read_text()
