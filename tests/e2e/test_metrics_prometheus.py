"""A real Prometheus scrapes the server: each query of the dashboard and each rule that is shipped finds data there."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import yaml

import media
from handlers.reporter import BUCKETS
from server import Server
from server.api import BINARY
from server.settings import PROJECT
from tests.e2e.prometheus import Prometheus, scraping
from tests.e2e.servers import PREDICT, WORKFLOW, moving_frames, wait_for

DASHBOARD = json.loads((PROJECT / "dashboards" / "eden.json").read_text())
QUERIES = [
    (f"{panel['title']} {target['refId']}", target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
GROUPS = yaml.safe_load((PROJECT / "dashboards" / "alerts.yml").read_text())["groups"]
MEASURES = [rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule]
ENCODER, DECODER = PREDICT


@dataclass(frozen=True)
class Seen:
    """What a Prometheus has seen of some work, at the moment in which that was over: however late it is asked."""

    prometheus: Prometheus
    moment: float

    def query(self, expression: str) -> list[float]:
        return self.prometheus.query(expression, self.moment)


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(server, tmp_path_factory.mktemp("prometheus"), every="2s") as started:
        yield started


@pytest.fixture(scope="module")
def seen(server: Server, prometheus: Prometheus) -> Seen:
    """After a few seconds of pairs by the workflow and node by node, a bad request among them."""

    def work(number: int) -> None:
        body = media.encode_npy(moving_frames(2, seed=number))
        if number % 10 == 0:
            server.api.call(WORKFLOW, data=b"nothing known", headers=BINARY)
        elif number % 10 == 5:
            ticket = server.api.call(ENCODER, data=body, headers=BINARY)
            server.api.call(DECODER, data=ticket.content, headers=BINARY)
        else:
            server.api.call(WORKFLOW, data=body, headers=BINARY)

    end = time.monotonic() + 12
    with ThreadPoolExecutor(4) as pool:
        number = 0
        while time.monotonic() < end:
            list(pool.map(work, range(number, number + 20)))
            number += 20
            time.sleep(0.2)
    over = time.time()
    evaluated: list[float] = []

    def has_seen_it() -> bool:
        evaluated[:] = prometheus.query("max(timestamp(eden:handoff:use))")  # of a scrape that went well
        return bool(evaluated) and evaluated[0] > over

    wait_for(has_seen_it, 600)
    return Seen(prometheus, evaluated[0])


@pytest.mark.parametrize(("name", "expression"), QUERIES, ids=[name for name, _ in QUERIES])
def test_every_query_of_the_dashboard_finds_data(seen, name, expression):
    values = seen.query(expression.replace("$__rate_interval", "60s"))
    assert values, f"{name}: no data"
    assert all(math.isfinite(value) and value >= 0 for value in values)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_rule_that_others_build_on_finds_data(seen, measure):
    values = seen.query(measure)
    assert values and all(math.isfinite(value) and value >= 0 for value in values)


def test_every_rule_can_be_evaluated(seen):
    rules = [rule for group in seen.prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in GROUPS)
    assert {rule["name"]: rule["health"] for rule in rules} == {rule["name"]: "ok" for rule in rules}


def test_what_must_move_has_moved(seen):
    for metric in (
        "eden_pairs_total",
        "eden_requests_total",
        "eden_batches_total",
        'eden_refused_total{Code="400", Reason="MediaError"}',
        'eden_refused_total{Reason="passed_on"}',
        'eden_handoff_bytes_total{Event="put"}',
        'eden_handoff_bytes_total{Event="take"}',
        "eden_stage_seconds_count",
        'eden_request_seconds_count{ModelName="eden__encoder", Topology="split"}',
        'eden_request_seconds_count{ModelName="eden__dit_decoder", Topology="chain"}',
        'eden_call_seconds_count{Topology="split"}',
    ):
        assert min(seen.query(f"sum(increase({metric}[1m]))")) > 0, metric


def test_every_stage_is_timed(seen):
    stages = seen.prometheus.get("label/Stage/values")
    assert set(stages) >= {"image_decode", "encode", "put", "take", "denoise_decode", "image_encode"}


@pytest.mark.parametrize("histogram", ["eden_request_seconds", "eden_call_seconds", "eden_stage_seconds"])
def test_the_parts_of_a_histogram_agree(seen, histogram):
    now = seen.prometheus.query  # no call is under way any more, but the last of them may be told yet
    wait_for(lambda: bool(now(f'sum({histogram}_bucket{{le="+Inf"}}) == sum({histogram}_count) > 0')))
    buckets = [now(f'sum({histogram}_bucket{{le="{bound}"}})')[0] for bound in BUCKETS]
    assert buckets == sorted(buckets)
    (mean,) = now(f"sum({histogram}_sum) / sum({histogram}_count)")
    assert 0 < mean < 60


def test_a_call_takes_what_its_nodes_take_and_the_way_between_them(seen):
    split = '{Topology="split", ModelName=~"eden__.+"}'
    (between,) = seen.query(f"sum(eden_call_seconds_sum{split}) - sum(eden_request_seconds_sum{split})")
    assert between > 0


def test_every_metric_that_is_declared_is_documented():
    declared = yaml.safe_load((PROJECT / "server" / "metrics.yaml").read_text())["model_metrics"]
    names = [metric["name"] for kind in declared.values() for metric in kind if metric["name"].startswith("eden_")]
    documented = (PROJECT / "docs" / "metrics.md").read_text()
    histograms = ("_bucket", "_sum", "_count")
    of = [next((name.removesuffix(end) for end in histograms if name.endswith(end)), name) for name in names]
    assert [name for name in of if f"`{name}`" not in documented] == []
