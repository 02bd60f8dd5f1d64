"""What a soak concludes: slopes and their certainty, what is a fault and what a kill explains; and a short real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bench.soak import report
from bench.soak.calls import difference
from bench.soak.drift import Drift, drift, line
from bench.soak.record import Record
from bench.soak.samples import heap_after_collections
from eden_client import PayloadLost, ServerBusy, ServerFailed, ServerLost
from server.settings import PROJECT

TIMES = np.arange(0, 3600, 10.0)
HOUR = 3600


def noise(seed: int, correlation: float) -> np.ndarray:
    """Of variance 1; what goes together does so for 1 / (1 - correlation) samples."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal(len(TIMES)) * (1 - correlation**2) ** 0.5
    values = [rng.standard_normal()]
    for step in steps[1:]:
        values.append(correlation * values[-1] + step)
    return np.array(values)


def of(values: np.ndarray, **options) -> Drift:
    found = drift(TIMES, values, **options)
    assert found
    return found


def test_a_line_is_found_as_it_is():
    slope = line([0, HOUR, 2 * HOUR], [5, 8, 11])
    assert (slope.per_hour, slope.mean, slope.points) == (pytest.approx(3), 8, 3)
    assert slope.low == pytest.approx(3) == slope.high


def test_the_interval_is_students_where_points_are_independent():
    """By hand: y = 0, 0, 3 against x = 0, 1, 2 leaves 0.5, -1, 0.5; t of one degree of freedom is 12.706."""
    slope = line([0, HOUR, 2 * HOUR], [0, 0, 3], correlated=False)
    assert slope.high - slope.per_hour == pytest.approx(12.7062 * (1.5 / 2) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_noise_is_called_growth_about_as_often_as_is_said_and_growth_is_seen(correlation):
    """One in twenty; the samples themselves, taken for independent, would say it in every second hour."""
    seeds = range(100)
    wrong = [of(noise(seed, correlation)).verdict != "flat" for seed in seeds]
    assert sum(wrong) <= 10
    seen = [of(noise(seed, correlation) + 4 * TIMES / HOUR).verdict in ("grows", "settles") for seed in seeds]
    assert sum(seen) >= 95
    if correlation:
        naive = [line(TIMES, noise(seed, correlation), correlated=False) for seed in seeds]
        assert sum(slope.low > 0 or slope.high < 0 for slope in naive) >= 40
        covered = [
            slope.whole.low <= 0 <= slope.whole.high for slope in (of(noise(seed, correlation)) for seed in seeds)
        ]
        assert sum(covered) >= 88


def test_what_grew_at_first_alone_settles_and_what_shrinks_falls():
    quiet = noise(1, 0) / 10
    assert of(np.minimum(TIMES, 1500) / 100 + quiet).verdict == "settles"
    assert of(TIMES / 100 + quiet).verdict == "grows"
    assert of(-TIMES / 100 + quiet).verdict == "falls"
    assert of(TIMES / HOUR + quiet, least=2).verdict == of(-TIMES / HOUR + quiet, least=2).verdict == "flat"
    assert of(np.full(len(TIMES), 7.0)).verdict == "flat"


def test_a_heap_is_judged_by_what_is_left_after_it_was_collected():
    sawtooth = 100 + TIMES % 290
    noisy = sawtooth + noise(2, 0)
    assert of(noisy, fold=np.min).whole.mean < 115 < of(noisy).whole.mean
    assert of(noisy + 50 * TIMES / HOUR, fold=np.min).verdict == "grows"


def test_little_is_no_series():
    assert drift([], []) is None and drift([1.0], [1.0]) is None
    assert drift([0.0, 10.0, 20.0], [1.0, 2.0, 3.0]) is None


def test_a_refusal_is_none_a_kill_explains_what_was_under_way_and_all_else_is_a_fault():
    record = Record()
    busy, lost, failed = ServerBusy("full", 503, "OverCapacity"), ServerLost("no answer"), ServerFailed("oh", 500, "X")
    record.add_trouble("fused, npy, pair", record.now(), busy)
    record.add_trouble("fused, npy, pair", record.now(), failed)
    kill = record.add_kill("eden_fused", 1)
    record.add_trouble("fused, npy, pair", record.now(), failed)
    record.add_trouble("auto, auto, stream", record.now(), lost)
    record.add_trouble("chain, npy, pair", record.now(), PayloadLost("gone", 410, "PayloadGone"))
    kill.back_s = record.now()
    record.add_trouble("fused, npy, pair", record.now() - 60, lost)
    record.began -= 60
    record.add_trouble("fused, npy, pair", record.now(), lost)
    assert record.troubles == {
        ("503 OverCapacity", "refused"): 1,
        ("500 X", "killed"): 1,
        ("no answer", "killed"): 2,
    }
    assert [fault.what for fault in record.faults] == ["fused, npy, pair", "chain, npy, pair", "fused, npy, pair"]
    assert "oh (500 X)" in record.faults[0].text


def test_rounding_is_no_difference_and_another_frame_is_one():
    frame = np.random.default_rng(0).integers(1, 255, (64, 96, 3), np.uint8)
    rounded = frame.copy()
    rounded[0, :4] += 1
    assert difference(rounded, frame) is None
    assert "differ" in str(difference(frame[::-1], frame))
    off = frame.copy()
    off[0, 0, 0] += 2
    assert "by up to 2" in str(difference(off, frame))
    assert "in place of" in str(difference(frame[1:], frame))


def test_javas_log_says_what_is_left(tmp_path):
    log = tmp_path / "gc.log"
    log.write_text(
        "[2026-11-27T22:48:31.190+0000] Using G1\n"
        "[2026-11-27T22:48:32.250+0000] GC(0) Pause Young (Normal) (G1 Evacuation Pause) 23M->4M(376M) 5.120ms\n"
        "[2026-11-27T22:49:31.004+0000] GC(3) Concurrent Mark Cycle\n"
        "[2026-11-27T22:49:32.000+0000] GC(4) Pause Remark 98M->1G(376M) 2.500ms\n"
    )
    assert heap_after_collections(log, began=1795819711.0) == [(1.25, 4 << 20), (61.0, 1 << 30)]


def found(growth: float, faults: list[dict]) -> dict:
    """As a run of an hour finds it: Java's threads grow; one worker is spared, five are not."""
    quiet = noise(3, 0.5)

    def row(number: int, at: float) -> dict:
        counts = dict.fromkeys(report.NAMES, 10.0) | {"java_threads": 60 + growth * at / HOUR + quiet[number]}
        young = {"pid": 100 + number // 72, "age_s": 10.0 * (number % 72)}
        alive = [{"pid": 1, "model": "eden_fused", "age_s": at}, {"model": "eden__encoder"} | young]
        used = {"server_cpu_s": at / 2, "client_cpu_s": at / 10}
        held = {"threads": 9, "descriptors": 5, "rss": 300 << 20}
        return {"at_s": at, **counts, **used, "workers": [worker | held for worker in alive]}

    return {
        "machine": {"cpu": "a CPU", "cores": 2, "gpus": [], "date": "today"},
        "minutes": 60.0,
        "settings": {"rate": 1.5, "kill_every": 60.0},
        "record": {
            "good": {"fused, npy, pair": [0.1, 0.2, 0.3]},
            "troubles": [["503 OverCapacity", "refused", 2]],
            "answers": [["encoder, hostile", "400", 7]],
            "faults": faults,
            "kills": [{"at_s": 60.0, "model": "eden__encoder", "pid": 100, "back_s": 65.5}],
            "left_out": 0,
        },
        "spared": [1],
        "samples": [row(number, at) for number, at in enumerate(TIMES)],
        "heap": [(float(at), 50e6) for at in TIMES],
    }


def test_the_report_says_what_grows_and_what_went_wrong(tmp_path):
    leaking = found(40, [{"at_s": 5.0, "what": "fused, npy, pair", "text": "a wrong answer: 9 | 10"}])
    report.write(tmp_path / "soak", leaking)
    text = (tmp_path / "soak.md").read_text()
    verdicts = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in text.splitlines()}
    assert verdicts["Java, threads"] == "grows" and verdicts["Java, descriptors"] == "flat"
    assert verdicts["eden_fused, the worker that is spared: threads"] == "flat"
    assert verdicts["eden__encoder, 5 workers of one age: resident memory"] == "flat"
    assert "**1 fault.** 3 good calls were answered right (median 0.20 s" in text and "9 / 10" in text
    assert "after 5.5 s" in text and "used 0.50 of a core, its callers 0.10" in text
    assert json.loads((tmp_path / "soak.json").read_text())["minutes"] == 60
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
    assert "| Java, threads | 60" in report.markdown(found(0, [])) and "Faults:" not in report.markdown(found(0, []))


@pytest.mark.skipif("EDEN_BENCH" not in os.environ, reason="a server of its own for 90 seconds: EDEN_BENCH=1")
@pytest.mark.timeout(900)
def test_a_short_soak(tmp_path):
    command = [sys.executable, "-m", "bench.soak", "--minutes", "1.5", "--kill-every", "15", "--film-every", "30"]
    command += ["--every", "1", "--out", str(tmp_path / "soak")]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=800)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    saw = json.loads((tmp_path / "soak.json").read_text())
    assert saw["record"]["faults"] == [] and saw["record"]["kills"] and saw["record"]["good"]
    assert len(saw["samples"]) > 10 and saw["heap"]
