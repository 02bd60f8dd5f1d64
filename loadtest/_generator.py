"""Watches the CPU of each load generating process, and warns if it may be what limits the measured rate."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import psutil
from locust.env import Environment
from locust.runners import MasterRunner

logger = logging.getLogger("eden")

BUSY = 0.8
"""Fraction of a core above which a process may limit the load itself: add --processes."""


class Generator:
    """The last CPU use of the load generating processes. 1.0 is one core, the most that such a process can use."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._of_process: dict[str, float] = {}
        self._peak = 0.0
        environment.events.report_to_master.add_listener(self._report)
        environment.events.worker_report.add_listener(self._hear)
        environment.events.quitting.add_listener(self._sum_up)
        self._own = 0.0
        gevent.spawn(self._watch)

    def cpu(self) -> float:
        """CPU use of the busiest process; on a master, which makes no load, of its workers."""
        return max(self._of_process.values(), default=self._own)

    def _watch(self) -> None:
        process = psutil.Process()
        process.cpu_percent()
        while True:
            gevent.sleep(1.0)
            self._own = process.cpu_percent() / 100
            if not isinstance(self._environment.runner, MasterRunner):
                self._peak = max(self._peak, self._own)

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        data["eden_cpu"] = self._own

    def _hear(self, client_id: str, data: dict[str, Any]) -> None:
        self._of_process[client_id] = data.get("eden_cpu", 0.0)
        self._peak = max(self._peak, self._of_process[client_id])

    def _sum_up(self, **_: Any) -> None:
        said = f"The busiest load generating process used up to {self._peak:.0%} of a core"
        if self._peak > BUSY:
            logger.warning("%s: it may be what was measured; add --processes.", said)
        else:
            logger.info("%s.", said)
