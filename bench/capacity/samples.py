"""Samples twice per second the server's metrics, the CPU and memory of its processes, and the GPUs."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests

from server import Server
from server.http import request

STAGES = ("image_decode", "encode", "put", "take", "denoise_decode", "image_encode")
PERIOD = 0.5
"""Seconds between samples."""

_LINE = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Readings:
    """The series of a metrics page."""

    def __init__(self, page: str) -> None:
        self._series = [
            (name, dict(_LABEL.findall(labels)), float(value))
            for name, labels, value in _LINE.findall(page)
            if not name.endswith("_bucket")
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all series of that name with these labels."""
        return sum(
            value
            for each, of, value in self._series
            if each == name and all(of.get(key) == wanted for key, wanted in labels.items())
        )


@dataclass(frozen=True)
class Sample:
    """A sample at one moment."""

    at: float
    """Unix time in seconds"""
    readings: Readings
    cpu: Mapping[str, float]
    """CPU seconds used so far, by role"""
    memory: Mapping[str, float]
    """resident bytes, by role"""


@dataclass
class Gpus:
    """The use of each GPU, by nvidia-smi; empty where there is no GPU."""

    seen: list[tuple[float, int, float, float]] = field(default_factory=list)
    """(Unix seconds, GPU, percent of the time busy, bytes)"""

    def __enter__(self) -> Gpus:
        program = shutil.which("nvidia-smi")
        self._process = None
        if program:
            query = ["--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "500"]
            self._process = subprocess.Popen([program, *query], stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)

    def _read(self) -> None:
        assert self._process and self._process.stdout
        for line in self._process.stdout:
            index, busy, megabytes = line.split(",")
            self.seen.append((time.time(), int(index), float(busy), float(megabytes) * 2**20))

    def between(self, began: float, ended: float) -> dict[str, float]:
        """`gpu0_busy` (0..1) and `gpu0_bytes` and so on, means over the time between."""
        said = {}
        for gpu in sorted({index for _, index, _, _ in self.seen}):
            rows = [row for row in self.seen if row[1] == gpu and began <= row[0] <= ended]
            if rows:
                said[f"gpu{gpu}_busy"] = sum(row[2] for row in rows) / len(rows) / 100
                said[f"gpu{gpu}_bytes"] = sum(row[3] for row in rows) / len(rows)
        return said


class Sampler:
    """Samples a server in a thread for as long as it is entered. `nodes`: its models, by role."""

    def __init__(self, server: Server, gpus: Gpus, nodes: Mapping[str, str]) -> None:
        self._server, self._gpus, self._nodes = server, gpus, nodes
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        roles = {"java": [server.java_pid], **{role: server.worker_pids(node) for role, node in nodes.items()}}
        self._processes = {role: [psutil.Process(pid) for pid in pids] for role, pids in roles.items()}

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            try:
                page = request("GET", self._server.metrics_url, timeout=5).text
                self._samples.append(
                    Sample(
                        time.time(),
                        Readings(page),
                        {role: sum(_cpu(each) for each in all_) for role, all_ in self._processes.items()},
                        {role: sum(each.memory_info().rss for each in all_) for role, all_ in self._processes.items()},
                    )
                )
            except (requests.RequestException, psutil.Error):
                continue  # a busy server may miss one

    def between(self, began: float, ended: float) -> dict[str, Any]:
        """The differences between two moments, per pair, per request or per second, as the names say.

        Empty where there are no two samples in between.
        """
        within = [sample for sample in self._samples if began <= sample.at <= ended]
        if len(within) < 2:
            return {}
        first, last = within[0], within[-1]
        return {
            **(work := _work(first.readings, last.readings, self._nodes)),
            "drawn_a_second": work["pairs_drawn"] / (last.at - first.at),
            **{f"{role}_cores": (last.cpu[role] - first.cpu[role]) / (last.at - first.at) for role in first.cpu},
            **{f"{role}_bytes": max(sample.memory[role] for sample in within) for role in first.memory},
            **_busy(first, last, self._nodes),
            **self._gpus.between(began, ended),
        }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _work(first: Readings, last: Readings, nodes: Mapping[str, str]) -> dict[str, Any]:
    """Batches, waiting and the time of each stage."""

    def gained(name: str, **labels: str) -> float:
        return last.sum(name, **labels) - first.sum(name, **labels)

    said: dict[str, Any] = {"pairs_drawn": gained("eden_pairs_total")}
    for role, node in nodes.items():
        requests_, batches = (gained(f"eden_{what}_total", ModelName=node) for what in ("requests", "batches"))
        if batches and requests_:
            said[f"{role}_batches"] = batches
            said[f"{role}_requests_a_batch"] = requests_ / batches
            said[f"{role}_full_batches"] = gained("eden_batches_full_total", ModelName=node) / batches
            waited = gained("ts_queue_latency_microseconds", model_name=node)
            said[f"{role}_queue_ms"] = waited / 1e3 / requests_
    for stage in STAGES:
        seconds = gained("eden_stage_seconds_sum", Stage=stage)
        said[f"{stage}_ms_a_pair"] = 1e3 * seconds / said["pairs_drawn"] if said["pairs_drawn"] else None
    said["handoff_bytes_a_pair"] = (
        gained("eden_handoff_bytes_total", Event="take") / said["pairs_drawn"] if said["pairs_drawn"] else None
    )
    said["fallbacks"] = gained("eden_handoff_events_total", Event="fallback")
    said["refused"] = gained("eden_refused_total", Code="503")
    return said


def _busy(first: Sample, last: Sample, nodes: Mapping[str, str]) -> dict[str, float]:
    """Per node, the seconds that its workers together spend in their stages, per second."""
    seconds = last.at - first.at
    return {
        f"{role}_busy": (
            last.readings.sum("eden_stage_seconds_sum", ModelName=node)
            - first.readings.sum("eden_stage_seconds_sum", ModelName=node)
        )
        / seconds
        for role, node in nodes.items()
    }
