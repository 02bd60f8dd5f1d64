"""How what is counted is told to TorchServe: added up, as few lines, and never at a request's cost."""

from __future__ import annotations

import zipfile
from importlib import resources

import pytest

from handlers.reporter import BUCKETS, Reporter


@pytest.fixture
def reporter(told):
    return Reporter(told.metrics())


def test_what_is_counted_between_two_tellings_is_one_line(reporter, told):
    for _ in range(1000):
        reporter.count("eden_pairs_total", 3)
    reporter.tell()
    assert told.of("eden_pairs_total") == {(): 3000}
    reporter.tell()
    assert len(told.lines) == 1


def test_a_zero_makes_a_series_known(reporter, told):
    reporter.count("eden_refused_total", 0, "503", "wait")
    reporter.tell()
    assert told.of("eden_refused_total") == {("503", "wait"): 0}


def test_a_gauge_is_told_where_it_has_changed(reporter, told):
    for value in (5, 5, 7):
        reporter.gauge("eden_in_flight", value, "9001")
        reporter.tell()
    assert told.of("eden_in_flight") == {("9001",): 7}
    assert len(told.lines) == 2


def test_a_histogram_counts_in_every_bucket_from_its_own_on(reporter, told):
    seconds = (0.0001, 0.003, 0.0031, 0.07, 59.0, 4000.0, -1.0)
    for each in seconds:
        reporter.observe("eden_call_seconds", each, "split")
    reporter.tell()
    found = told.of("eden_call_seconds_bucket")
    assert list(found) == [("split", bound) for bound in BUCKETS]  # "0.003" to "+Inf"
    assert [found["split", bound] for bound in ("0.003", "0.005", "0.05", "0.1", "30", "60", "+Inf")] == [
        3, 4, 4, 5, 5, 6, 7,
    ]  # fmt: skip
    assert told.of("eden_call_seconds_count") == {("split",): 7}
    assert told.of("eden_call_seconds_sum")["split",] == pytest.approx(sum(seconds[:-1]))


def test_a_busy_histogram_is_as_many_lines_as_one_that_saw_a_call(reporter, told):
    for _ in range(500):
        reporter.observe("eden_call_seconds", 0.001, "split")
    reporter.tell()
    assert len(told.lines) == len(BUCKETS) + 2


def test_what_is_expected_is_known_and_empty(reporter, told):
    reporter.expect("eden_call_seconds", "fused")
    reporter.tell()
    assert len(told.of("eden_call_seconds_bucket")) == len(BUCKETS)
    assert set(told.values.values()) == {0}


def test_what_cannot_be_told_is_said_once_and_spares_the_rest(reporter, told, caplog):
    def broken() -> None:
        raise RuntimeError("no such file")

    reporter.poll(broken)
    for _ in range(3):
        reporter.count("eden_of_another_version_total", 1)
        reporter.count("eden_pairs_total", 1)
        reporter.tell()
    assert told.of("eden_pairs_total") == {(): 3}
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["what changes by itself cannot be told", "eden_of_another_version_total cannot be told"]


def test_a_thread_of_its_own_tells_what_is_counted_and_what_changes_by_itself(reporter, told):
    seen = iter(range(1, 1000))
    reporter.poll(lambda: reporter.gauge("eden_in_flight", next(seen), "9001"))
    reporter.start()
    reporter.count("eden_pairs_total", 2)
    told.wait_for(lambda: told.of("eden_pairs_total") == {(): 2} and bool(told.of("eden_in_flight")))
    reporter.count("eden_pairs_total", 3)
    told.wait_for(lambda: told.of("eden_pairs_total") == {(): 5} and told.of("eden_in_flight")["9001",] > 1)


def test_torchserves_own_histograms_have_buckets_that_nothing_sets():
    """Why ours are counters. Once this fails, they can be histograms."""
    with zipfile.ZipFile(str(resources.files("ts") / "frontend" / "model-server.jar")) as jar:
        (name,) = [name for name in jar.namelist() if name.endswith("/PrometheusHistogram.class")]
        histogram = jar.read(name)
        builder = jar.read("io/prometheus/client/Histogram$Builder.class")
    assert b"io/prometheus/client/Histogram$Builder" in histogram and b"labelNames" in histogram
    assert b"buckets" in builder and b"buckets" not in histogram.lower()
