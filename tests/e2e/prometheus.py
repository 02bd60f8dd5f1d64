"""A real Prometheus with the configuration and the rules that are shipped, aimed at a server under test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from server import Server
from server.settings import PROJECT, Ports
from tests.e2e.servers import wait_for

SHIPPED = PROJECT / "dashboards" / "prometheus.yml"


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def get(self, path: str, **parameters: str | float) -> Any:
        """What its API answers."""
        reply = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60)
        assert reply.status_code == 200, f"{path} {parameters}: {reply.text}"
        return reply.json()["data"]

    def query(self, expression: str, moment: float | None = None) -> list[float]:
        """The values of an instant query, now or at that moment."""
        at = {} if moment is None else {"time": moment}
        return [float(series["value"][1]) for series in self.get("query", query=expression, **at)["result"]]

    def alerts(self) -> dict[str, list[dict[str, Any]]]:
        """Those that fire, by name."""
        firing: dict[str, list[dict[str, Any]]] = {}
        for alert in self.get("alerts")["alerts"]:
            if alert["state"] == "firing":
                firing.setdefault(alert["labels"]["alertname"], []).append(alert)
        return firing


@contextlib.contextmanager
def scraping(server: Server, folder: Path, every: str | None = None) -> Iterator[Prometheus]:
    """It runs, and has scraped that server. every: how often it scrapes and evaluates; None: as shipped.

    Skips where Prometheus is not installed.
    """
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("Prometheus is not installed (Debian: apt install prometheus)")
    config = yaml.safe_load(SHIPPED.read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8082"]}]  # as config.properties has it
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{server.ports.metrics}"]
    config["rule_files"] = [str(SHIPPED.with_name(name)) for name in config["rule_files"]]
    if every:
        config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    process, url = _started(program, folder)
    try:
        started = Prometheus(url)
        wait_for(lambda: bool(started.query('up{job="eden"} == 1')), 600)
        yield started
    finally:
        process.terminate()
        process.wait(60)


def _started(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """It answers at this address. A port that somebody else took first is no reason to fail."""
    for _ in range(10):
        address = f"127.0.0.1:{Ports.free().metrics}"
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

        def has_started(process: subprocess.Popen[bytes] = process, address: str = address) -> bool:
            return process.poll() is not None or requests.get(f"http://{address}/-/ready", timeout=60).ok

        wait_for(has_started, 600)
        if process.poll() is None:
            return process, f"http://{address}"
    raise AssertionError((folder / "log").read_text())
