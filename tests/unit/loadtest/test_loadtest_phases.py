"""Phases: what is counted, percentiles, the knee."""

from __future__ import annotations

import json

import numpy as np
import pytest

from loadtest._phases import Phase, Totals, knee, percentile, saturated, table


def totals(times: dict[int, int], failures: int = 0) -> Totals:
    count = sum(times.values())
    seconds = sum(ms * n for ms, n in times.items()) / 1e3
    return Totals(count, failures, seconds, 100 * count, times)


@pytest.fixture
def phase() -> Phase:
    before = {("POST", "a"): totals({10: 5}), ("FRAME", "S"): totals({10: 5})}
    after = {
        ("POST", "a"): totals({10: 6, 20: 8, 400: 1}, failures=2),
        ("FRAME", "S"): totals({10: 5, 20: 30}),
        ("LATE", "S"): totals({50: 6}),
        ("SKIPPED", "S"): totals({0: 10}),
    }
    return Phase.between("4 users", 4, (1000.0, before), (1010.0, after), 0.25)


def test_only_what_came_within_the_phase_counts(phase):
    calls = phase.calls()
    assert (calls["requests"], calls["failures"], calls["nbytes"]) == (10, 2, 1000)
    assert calls["mean_ms"] == pytest.approx((10 + 8 * 20 + 400) / 10)
    assert (calls["p50_ms"], calls["p95_ms"]) == (20, 400)
    assert phase.frames_per_second() == 3.0
    assert phase.failures() == 2


def test_late_and_skipped_pairs_are_a_share_of_those_due(phase):
    assert phase.share_late() == pytest.approx(16 / 40)


def test_a_phase_survives_its_file(phase):
    assert Phase(**json.loads(json.dumps(phase.as_json()))) == phase


def test_a_phase_without_an_answer():
    idle = Phase.between("x", 1, (0.0, {}), (5.0, {}), 0.0)
    assert idle.calls() == {}
    assert (idle.frames_per_second(), idle.share_late()) == (0.0, 0.0)
    assert "nan" in table([idle])


def test_percentiles_agree_with_numpys_of_the_same_numbers():
    random = np.random.default_rng(3)
    sample = random.integers(1, 500, 1000)
    times = {int(ms): int(n) for ms, n in zip(*np.unique(sample, return_counts=True), strict=True)}
    for share in (0.5, 0.95, 0.99, 1.0):
        assert percentile(times, share) == np.quantile(sample, share, method="inverted_cdf")
    assert percentile({}, 0.5) is None


def test_the_knee_is_the_least_load_near_the_best_throughput():
    assert knee([1, 2, 3.9, 4.0, 3.8]) == 2
    assert knee([5]) == 0
    with pytest.raises(ValueError):
        knee([])


@pytest.mark.parametrize(
    ("throughputs", "ends"),
    [([1, 2, 4], False), ([1, 2, 2.02, 2.04], True), ([2, 1, 1.5], True), ([1, 1, 2], False), ([1, 1], False)],
)
def test_steps_end_after_two_that_hardly_gain(throughputs, ends):
    assert saturated(throughputs, gain=0.05) is ends
