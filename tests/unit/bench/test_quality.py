"""Measures of quality against values known by hand, the ways to interpolate, and a whole report of a small run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from bench.quality.__main__ import SHOWN, main, run
from bench.quality.measures import measure, psnr, ssim
from bench.quality.methods import MINTERPOLATE, average, eden, minterpolate, repeat
from bench.quality.report import EXACT
from bench.quality.scenes import DISPLACEMENTS, digest, held_out
from bench.quality.sheet import CELL, GAP, LABEL, MARGIN

HEIGHT, WIDTH = 64, 96


def frame(value: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


@pytest.fixture(scope="module")
def scenes():
    return held_out(seed=3, count=3, size=(HEIGHT, WIDTH))


def test_psnr_of_errors_known():
    assert psnr(frame(100), frame(101)) == pytest.approx(20 * math.log10(255))
    assert psnr(frame(255), frame(0)) == pytest.approx(0)
    half = frame(100)
    half[: HEIGHT // 2] += 10
    assert psnr(half, frame(100)) == pytest.approx(10 * math.log10(255**2 / 50))
    assert psnr(half, half) == EXACT


def test_ssim_is_one_for_equals_and_falls_with_noise():
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    little = np.clip(picture + random.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
    much = np.clip(picture + random.normal(0, 60, picture.shape), 0, 255).astype(np.uint8)
    assert ssim(picture, picture) == pytest.approx(1)
    assert 1 > ssim(little, picture) > ssim(much, picture) > 0


def test_simple_ways():
    assert (repeat(frame(10), frame(20)) == 10).all()
    assert (average(frame(10), frame(21)) == 16).all()
    assert (average(frame(255), frame(255)) == 255).all()


@pytest.mark.parametrize("options", MINTERPOLATE.values())
def test_minterpolate_keeps_a_still(scenes, options):
    still = scenes["still"][0].first
    assert psnr(minterpolate(still, still, options), still) > 45


def test_minterpolate_blends_half_and_half(scenes):
    scene = scenes["16-32"][0]
    blended = minterpolate(scene.first, scene.last, MINTERPOLATE["minterpolate, blend"])
    assert psnr(blended, average(scene.first, scene.last)) > 40


def test_minterpolate_follows_what_moves():
    """A textured square that moves by 8 pixels stands half-way, once."""
    random = np.random.default_rng(2)
    square = random.integers(60, 256, (8, 8, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    first, middle, last = (frame(40) for _ in range(3))
    for picture, left in ((first, 24), (middle, 28), (last, 32)):
        picture[16:48, left : left + 32] = square
    followed = minterpolate(first, last, MINTERPOLATE["minterpolate, mci"])
    assert psnr(followed, middle) > psnr(average(first, last), middle) + 6


def test_scenes_are_held_out_in_order_and_the_same_for_a_seed(scenes):
    again = held_out(seed=3, count=3, size=(HEIGHT, WIDTH))
    other = held_out(seed=4, count=3, size=(HEIGHT, WIDTH))
    assert digest(scenes) == digest(again) != digest(other)
    for name, (low, high) in DISPLACEMENTS.items():
        assert all(0.95 * low <= scene.displacement <= 1.05 * high for scene in scenes[name])
        assert all(scene.middle.shape == (HEIGHT, WIDTH, 3) for scene in scenes[name])
    still = scenes["still"][0]
    assert np.array_equal(still.first, still.last) and np.array_equal(still.first, still.middle)


def test_baselines_fall_as_things_move_further(scenes):
    figures = {name: measure(scenes[name], {"average": average})[0]["average"] for name in scenes}
    assert figures["still"]["psnr"] == EXACT and figures["still"]["ssim"] == 1
    assert figures["0-4"]["psnr"] > figures["4-16"]["psnr"] > figures["16-32"]["psnr"] > 8


def test_a_whole_report(checkpoint, tmp_path):
    out = tmp_path / "results" / "quality"
    results = run(checkpoint, out, count=2, seed=3, size=(HEIGHT, WIDTH))
    assert json.loads(out.with_suffix(".json").read_text()) == results
    assert results["frames_sha256"] == digest(held_out(3, 2, (HEIGHT, WIDTH)))
    far = results["ranges"]["16-32"]["methods"]
    table = out.with_suffix(".md").read_text()
    for name in ("repeat", "average", "minterpolate, blend", "minterpolate, mci", "EDEN"):
        assert f"| {name} | " in table and f" {far[name]['psnr']:.2f} / {far[name]['ssim']:.3f} |" in table
    assert f"{far['EDEN']['psnr'] - far['average']['psnr']:+.2f} dB" in table
    with Image.open(out.with_suffix(".png")) as sheet:
        cells = sum(min(2, shown) for shown in SHOWN.values())
        assert sheet.size == (MARGIN + 6 * (CELL[0] + GAP), LABEL + cells * (CELL[1] + GAP))
        shown = np.asarray(sheet.convert("RGB"))
    (still, *_) = held_out(3, 2, (HEIGHT, WIDTH))["still"]
    first = shown[LABEL : LABEL + CELL[1], MARGIN : MARGIN + CELL[0]]
    assert psnr(first, np.asarray(Image.fromarray(still.first).resize(CELL, Image.Resampling.LANCZOS))) > 60


def test_no_checkpoint_is_one_clear_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["quality", "--checkpoint", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert main() == 1
    assert "none" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_eden_answers_with_a_frame_of_the_size(checkpoint, scenes):
    scene = scenes["4-16"][0]
    frame = eden(checkpoint, "cpu", "fp32")(scene.first, scene.last)
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
