"""Samples what a server holds: threads, file descriptors, memory, disk, and payloads that wait for a decoder."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import requests

from bench.capacity.samples import Readings
from bench.soak.record import Record
from server import Server
from server.http import request

WORKER = "model_service_worker.py"
"""In the command line of TorchServe's workers."""
AUTOSTART = "autostart"
_COLLECTION = re.compile(r"^\[([^]]+)\].*Pause.* \d+[KMG]->(\d+)([KMG])\(")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Worker:
    """A worker's process, and the model that it serves."""

    process: psutil.Process
    model: str

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.time() - self.process.create_time()


def workers(server: Server) -> list[Worker]:
    """The workers below this server's Java that TorchServe names, and no other process."""
    java = psutil.Process(server.java_pid)
    named = {pid: model for model in (*server.topology.models, AUTOSTART) for pid in server.worker_pids(model)}
    found = []
    for child in java.children():
        with contextlib.suppress(psutil.Error):
            if child.pid in named and any(part.endswith(WORKER) for part in child.cmdline()):
                found.append(Worker(child, named[child.pid]))
    return found


class Sampler:
    """Samples a server every `every` seconds, in a thread, while its `with` block lasts.

    A worker that ended without having been killed is recorded as a fault.
    """

    def __init__(self, server: Server, shared: Path, record: Record, every: float) -> None:
        self._server, self._shared, self._record, self._every = server, shared, record, every
        self._java, self._own = psutil.Process(server.java_pid), psutil.Process()
        self._seen: dict[int, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rows: list[dict[str, Any]] = []
        """one per sample: `at_s` (seconds since the run began), figures of the server, and `workers`, a row for each"""
        self.by_name: list[tuple[float, dict[str, int]]] = []
        """(seconds since the run began, number of Java's threads by name); N stands for digits in a name"""

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def note_names(self) -> None:
        """Count Java's threads by name, and add the counts to `by_name`."""
        names: Counter[str] = Counter()
        for task in Path(f"/proc/{self._java.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                names[re.sub(r"\d+", "N", (task / "comm").read_text().strip())] += 1
        self.by_name.append((round(self._record.now(), 1), dict(names.most_common())))

    def _run(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.rows.append(self._sample())
            except (requests.RequestException, psutil.Error, ValueError) as error:
                if not self._java.is_running():
                    self._record.add_fault("server", f"Java is gone: {error}")
                    return
                self._record.add_answer("server, sample", type(error).__name__)

    def _sample(self) -> dict[str, Any]:
        page = Readings(request("GET", self._server.metrics_url, timeout=30).text)
        alive = workers(self._server)
        self._miss(alive)
        shared = list(_files(self._shared))
        return {
            "at_s": round(self._record.now(), 1),
            "java_threads": self._java.num_threads(),
            "java_descriptors": self._java.num_fds(),
            "java_rss": self._java.memory_info().rss,
            "client_threads": self._own.num_threads(),
            "client_descriptors": self._own.num_fds(),
            "client_rss": self._own.memory_info().rss,
            "shared_bytes": sum(size for _, size in shared),
            "shared_files": len(shared),
            "folder_bytes": sum(size for path, size in _files(self._server.folder) if "logs" not in path.parts),
            "log_bytes": sum(size for _, size in _files(self._server.logs)),
            "in_flight": page.sum("eden_in_flight"),
            "in_flight_bytes": page.sum("eden_in_flight_bytes"),
            "server_cpu_s": _cpu(self._java) + sum(_cpu(worker.process) for worker in alive),
            "client_cpu_s": _cpu(self._own),
            "workers": [row for worker in alive if (row := _of_worker(worker))],
        }

    def _miss(self, alive: Sequence[Worker]) -> None:
        now = {worker.process.pid: worker.model for worker in alive}
        for pid, model in self._seen.items():
            if pid not in now and not psutil.pid_exists(pid) and pid not in self._record.killed():
                self._record.add_fault(model, f"its worker {pid} ended, and nobody had killed it")
        self._seen = now


def _of_worker(worker: Worker) -> dict[str, Any] | None:
    with contextlib.suppress(psutil.Error), worker.process.oneshot():
        return {
            "pid": worker.process.pid,
            "model": worker.model,
            "age_s": round(worker.age, 1),
            "threads": worker.process.num_threads(),
            "descriptors": worker.process.num_fds(),
            "rss": worker.process.memory_info().rss,
        }
    return None


def heap_after_collections(log: Path, began: float) -> list[tuple[float, float]]:
    """The size of Java's heap after each garbage collection in its log: (seconds since `began`, bytes).

    began  Unix time, in seconds
    """
    found = (_COLLECTION.match(line) for line in log.read_text(encoding="utf-8").splitlines())
    return [
        (datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() - began, float(match[2]) * _UNITS[match[3]])
        for match in found
        if match
    ]


def _files(folder: Path) -> list[tuple[Path, int]]:
    """Each file below a folder, and the bytes that it takes on disk."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                found.append((path.relative_to(folder), path.stat().st_blocks * 512))
    return found


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
