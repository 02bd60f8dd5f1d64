"""A real Prometheus scrapes the server, and every query of the dashboard that is shipped finds data there."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml

import media
from server import Server
from server.api import BINARY
from server.settings import PROJECT, Ports
from tests.e2e.servers import WORKFLOW, moving_frames

DASHBOARD = json.loads((PROJECT / "dashboards" / "eden.json").read_text())
QUERIES = [
    (f"{panel['title']} {target['refId']}", target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus of our own that reads the shipped configuration, aimed at the server under test."""
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("Prometheus is not installed (Debian: apt install prometheus)")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((PROJECT / "dashboards" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8082"]}]  # as config.properties has it
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{server.ports.metrics}"]
    config["global"]["scrape_interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{Ports.free().metrics}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def query(prometheus: str, expression: str) -> list[float]:
    """The values of an instant query."""
    reply = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10)
    assert reply.status_code == 200, f"{expression}: {reply.text}"
    return [float(series["value"][1]) for series in reply.json()["data"]["result"]]


@pytest.fixture(scope="module")
def scraped(server: Server, prometheus: str) -> str:
    """The same address, after it has seen a few seconds of work, a bad request among it."""

    def work(number: int) -> None:
        body = media.encode_npy(moving_frames(2, seed=number))
        server.api.call(WORKFLOW, data=body if number % 10 else b"nothing known", headers=BINARY)

    end = time.monotonic() + 12
    with ThreadPoolExecutor(4) as pool:
        number = 0
        while time.monotonic() < end:
            list(pool.map(work, range(number, number + 20)))
            number += 20
            time.sleep(0.2)
    return prometheus


@pytest.mark.parametrize(("name", "expression"), QUERIES, ids=[name for name, _ in QUERIES])
def test_every_query_of_the_dashboard_finds_data(scraped, name, expression):
    values = query(scraped, expression.replace("$__rate_interval", "20s"))
    assert values, f"{name}: no data"
    assert all(math.isfinite(value) and value >= 0 for value in values)


def test_what_must_move_has_moved(scraped):
    for metric in (
        "eden_pairs_total",
        "eden_requests_total",
        "eden_batches_total",
        'eden_refused_total{Code="400"}',
        'eden_handoff_bytes_total{Event="put"}',
        'eden_handoff_bytes_total{Event="take"}',
        "eden_stage_seconds_count",
    ):
        assert min(query(scraped, f"sum(increase({metric}[1m]))")) > 0, metric


def test_every_stage_is_timed(scraped):
    reply = requests.get(f"{scraped}/api/v1/label/Stage/values", timeout=10).json()
    assert set(reply["data"]) >= {"image_decode", "encode", "put", "take", "denoise_decode", "image_encode"}


def test_every_metric_that_is_declared_is_documented():
    declared = yaml.safe_load((PROJECT / "server" / "metrics.yaml").read_text())["model_metrics"]
    names = [metric["name"] for kind in declared.values() for metric in kind if metric["name"].startswith("eden_")]
    documented = (PROJECT / "docs" / "metrics.md").read_text()
    assert [name for name in names if f"`{name}" not in documented] == []
