"""Triplets of real film, others' ways, and a whole report, on a film made here: nothing that is fetched is needed."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
from PIL import Image

from bench.quality.measures import psnr
from bench.quality.sheet import CELL, GAP, LABEL
from bench.real_film.__main__ import by_class, main, run
from bench.real_film.footage import CLIPS, Clip, displacement, triplets
from bench.real_film.others import others, symmetric

SIZE = (64, 96)
PAN = 3
"""Pixels between two frames of the film, to the right."""
FRAMES, CUT_AT = 24, 14


def smooth(seed):
    """A picture [64, 160, 3] without edges, so that whatever moves can be followed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 20, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((160, SIZE[0]), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A folder with a film that pans over one picture, and after a cut over one that is far darker."""
    folder = tmp_path_factory.mktemp("footage")
    views = [smooth(1), smooth(2) // 8]
    with av.open(str(folder / "pan.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "4", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv444p"
        for number in range(FRAMES):
            left = PAN * (number % CUT_AT)
            view = views[number >= CUT_AT][:, 60 - left : 60 - left + SIZE[1]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return folder


def test_triplets_are_of_neighbours_and_cross_no_cut(footage):
    for gap, whole in ((1, FRAMES - 2 - 2), (2, FRAMES - 4 - 4)):
        scenes = triplets(footage / "pan.mp4", gap, SIZE, count=100)
        assert len(scenes) == whole
        for scene in scenes:
            for earlier, later in ((scene.first, scene.middle), (scene.middle, scene.last)):
                moved = np.roll(earlier, gap * PAN, axis=1)[:, 20:]
                assert psnr(moved, later[:, 20:]) > 30
    few = triplets(footage / "pan.mp4", 1, SIZE, count=4)
    brightness = [scene.middle.mean() for scene in few]
    assert len(few) == 4 and brightness[0] > 60 > 40 > brightness[-1]  # from both sides of the cut


def test_frames_are_cut_to_their_shape_and_scaled(footage):
    (scene, *_) = triplets(footage / "pan.mp4", 1, (32, 32), count=1)
    (whole, *_) = triplets(footage / "pan.mp4", 1, SIZE, count=1)
    expected = Image.fromarray(whole.middle[:, 16:80]).resize((32, 32), Image.Resampling.LANCZOS)
    assert psnr(scene.middle, np.asarray(expected)) > 40


def test_displacement_is_how_far_a_pan_goes():
    view = np.asarray(Image.fromarray(smooth(3)).resize((640, 256), Image.Resampling.BICUBIC))
    first, last = view[:, 100:484], view[:, 88:472]
    assert displacement(first, last) == pytest.approx(12, abs=2.5)
    assert displacement(first, first) < 0.5


def test_half_the_flow_from_both_sides_is_the_middle():
    view = smooth(4)
    first, middle, last = (view[:, 40 - left : 40 - left + SIZE[1]] for left in (0, 3, 6))
    forth = np.zeros((*SIZE, 2), np.float32)
    forth[..., 0] = 6
    inner = (slice(None), slice(8, -8))
    assert psnr(symmetric(first, last, forth, -forth)[inner], middle[inner]) > 45
    assert psnr(symmetric(first, last, -forth, forth)[inner], middle[inner]) < 35
    down = np.zeros_like(forth)
    down[..., 1] = 4
    turned = symmetric(*(np.ascontiguousarray(each) for each in (first, np.roll(first, 4, axis=0))), down, -down)
    assert psnr(turned[8:-8], np.roll(first, 2, axis=0)[8:-8]) > 45


def test_what_is_not_fetched_has_no_row(tmp_path):
    assert others(tmp_path) == {}


def test_blockiness_is_told_by_class():
    rows = [{"truth": 1.0, "EDEN": 1.1}, {"truth": 1.0, "EDEN": 1.3}, {"truth": 1.2, "EDEN": 2.0}]
    told = by_class([{"displacement": [1.0, 3.9, 40.0], "blockiness": rows}])
    assert told == {
        "0-4": {"triplets": 2, "truth": 1.0, "EDEN": pytest.approx(1.2)},
        "beyond": {"triplets": 1, "truth": 1.2, "EDEN": 2.0},
    }


def test_a_whole_report_of_film(checkpoint, footage, tmp_path):
    clips = (Clip("pan.mp4", "live", SIZE), Clip("pan.mp4", "drawn", (48, 64), shown=True))
    out = tmp_path / "results" / "film"
    results = run(checkpoint, footage, out, count=3, clips=clips)
    assert json.loads(out.with_suffix(".json").read_text()) == results
    assert results["triplets"] == 12 and list(results["groups"]) == ["live g1", "live g2", "drawn g1", "drawn g2"]
    table = out.with_suffix(".md").read_text()
    for way in ("average", "minterpolate, mci", "EDEN"):
        cells = [f"{group[way]['psnr']:.2f} / {group[way]['ssim']:.3f}" for group in results["groups"].values()]
        assert f"| {way} | " + " | ".join(cells) in table
    first = results["clips"]["live g1"][0]["methods"]["average"]["psnr_of_each"]
    assert results["groups"]["live g1"]["average"]["psnr"] == pytest.approx(sum(first) / 3)
    assert "| truth | " in table and sum(each["triplets"] for each in results["blockiness"].values()) == 12
    with Image.open(out.with_suffix(".jpg")) as sheet:
        assert sheet.size[1] == LABEL + 2 * (CELL[1] + GAP)  # two triplets of the film that may be shown


def test_film_that_is_not_there_is_one_clear_error(checkpoint, tmp_path, capsys, monkeypatch):
    told = ["real_film", "--checkpoint", str(checkpoint), "--footage", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", told)
    assert main() == 1
    said = capsys.readouterr().err
    assert CLIPS[0].path in said and "make footage" in said and not list(tmp_path.iterdir())
