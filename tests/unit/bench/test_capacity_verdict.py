"""What the report concludes, from figures that are known."""

from __future__ import annotations

import json

import pytest

from bench.capacity.plan import Setting, Workload
from bench.capacity.report import write_report
from bench.capacity.verdict import advice, bottleneck, held_cameras, knee_of, overheads, saturated_pairs, sweep

pytestmark = pytest.mark.slow

ONE, TWO = Setting(), Setting(batch=1, delay=0)
PAIRS, CLIPS = Workload(64, 96, 2, "png", ()), Workload(64, 96, 24, "jpeg", ())


def row(
    setting: Setting, workload: Workload, users: int, pairs: float, p95: float, kind: str = "sweep", **more
) -> dict:
    node = {"encoder_busy": 0.3, "decoder_busy": 0.97, "encoder_requests_a_batch": 3.0, "decoder_requests_a_batch": 6.0}
    stages = {"image_decode": 1, "encode": 2, "put": 1, "take": 1, "denoise_decode": 7, "image_encode": 2}
    return {
        "kind": kind,
        **{key: value for key, value in vars(setting).items() if key != "more"},
        "setting": str(setting),
        **{key: getattr(workload, key) for key in ("height", "width", "clip", "format")},
        "users": users,
        "seconds": 10.0,
        "pairs_a_second": pairs,
        "p50_ms": p95 / 2,
        "p95_ms": p95,
        "p99_ms": 2 * p95,
        "failures": 0,
        "late": 0.02,
        "generator_cpu": 0.1,
        **node,
        **{f"{stage}_ms_a_pair": float(ms) for stage, ms in stages.items()},
        **more,
    }


@pytest.fixture
def found() -> dict:
    return {
        "plan": {
            "settings": [vars(ONE)],
            "latency_target": 0.5,
            "camera_rate": 4.0,
            "precision": "fp32",
            "checkpoint": "weights/demo",
            "settle_seconds": 1.0,
            "phase_seconds": 10.0,
            "command": "--out x",
        },
        "machine": {"gpus": [], "cores": 2, "cpu": "some", "python": "3", "torch": "2", "date": "2026-01-01"},
        "engine": [
            {"height": 64, "width": 96, "clip": 2, "format": "png", "engine": 50.0, "with_pictures": 40.0},
            {"height": 64, "width": 96, "clip": 24, "format": "jpeg", "engine": 60.0, "with_pictures": 55.0},
        ],
        "rows": [
            row(ONE, PAIRS, 1, 10, 90),
            row(ONE, PAIRS, 4, 30, 150),
            row(ONE, PAIRS, 16, 39.5, 450),
            row(ONE, PAIRS, 32, 40, 900),
            row(ONE, CLIPS, 1, 45, 520),
            row(ONE, CLIPS, 4, 54, 2000),
            row(TWO, PAIRS, 32, 20, 400),
            row(ONE, PAIRS, 9, 36, 200, kind="cameras"),
        ],
        "left_out": [],
        "overload": {"workload": str(PAIRS), "cameras": 96, "waves": [{"offered": 80.0, "threads": 60}]},
    }


def test_knee_saturation_and_cameras(found):
    rows = found["rows"]
    assert knee_of(sweep(rows, str(ONE), PAIRS))["users"] == 16
    assert saturated_pairs(rows, ONE, PAIRS) == 40
    # 4 users get 7.5 a second each, 16 get 2.5: so more than 4 cameras of 4 a second, and 0.9 * 40 / 4 = 9
    step, cameras = held_cameras(rows, ONE, 4.0)
    assert (step["users"], cameras) == (4, 9)
    assert held_cameras(rows, ONE, 11.0) is None


def test_what_serving_costs_takes_the_best_of_all_settings(found):
    pairs, clips = overheads(found)
    assert (pairs["served"], pairs["share"], pairs["share_with_pictures"]) == (40, 0.8, 1.0)
    assert clips["share"] == pytest.approx(0.9)
    assert "denoise_decode 70%" in pairs["why"]


def test_the_bottleneck_counts_workers(found):
    assert "dit_decoder is the busier node, at work 97%" in bottleneck(found["rows"][0])
    split = row(Setting(decoders=4), PAIRS, 4, 30, 150)
    assert "the encoder is the busier node, at work 30%" in bottleneck(split)


FUSED = Setting(topology="fused", fused_workers=2)
OF_FUSED = {"fused_busy": 1.8, "fused_requests_a_batch": 4.0, "put_ms_a_pair": None, "take_ms_a_pair": None}


def fused_row(**more) -> dict:
    """Of a server without encoder and decoder, which therefore says nothing of them."""
    of_both = row(FUSED, PAIRS, 4, 60, 80, **OF_FUSED, **more)
    return {key: value for key, value in of_both.items() if not key.startswith(("encoder_", "decoder_"))}


def test_the_fused_node_is_the_only_one(found):
    said = bottleneck(fused_row())
    assert "eden_fused is at work 90%" in said and "denoise_decode 58%, encode 17%" in said and "put" not in said
    found["rows"].append(fused_row())
    assert overheads(found)[0]["setting"] == str(FUSED)
    assert "fused, batch 8, 3 ms, 2 workers" in advice(found)[0]


@pytest.mark.parametrize("first", [True, False])
def test_a_report_has_what_fused_servers_have(found, tmp_path, first):
    if first:
        found["rows"] = [fused_row(fused_cores=1.5)]
    else:
        found["rows"].append(fused_row(fused_cores=1.5))
    write_report(found, tmp_path / "capacity")
    page = (tmp_path / "capacity.html").read_text()
    assert "fused cores" in page and "<td>4.0</td><td>50%</td>" in page
    assert ("encoder batch" in page) is not first


def test_advice_keeps_within_the_latency_that_is_wanted(found):
    streaming, batch = advice(found)
    assert "batch 8, 3 ms" in streaming and "39.5 pairs per second to 16 at once" in streaming
    assert "54.0 pairs per second" in batch
    found["plan"]["latency_target"] = 0.05
    assert "nothing measured answers 19 of 20 pairs within 0.05 s; the quickest" in advice(found)[0]


def test_a_report_is_one_page_and_its_figures_are_in_the_csv(found, tmp_path):
    found = json.loads(json.dumps(found))  # as read back from OUT.json
    found["rows"][2]["generator_cpu"] = 0.95
    write_report(found, tmp_path / "capacity")
    page = (tmp_path / "capacity.html").read_text()
    assert "data:image/png;base64," in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "may be what was measured: 64x96, K = 2, PNG, 16 users (95%)" in page
    assert (tmp_path / "capacity.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "capacity.csv").read_text().splitlines()) == 9
