"""What the stages tell Prometheus. server/metrics.yaml declares it, docs/metrics.md explains it.

Each value is a line in the worker's log that TorchServe's Java parses: hence a handful a batch, and counters only when
they moved.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from ts.metrics.metric_type_enum import MetricTypes

from handoff import Handoff, HandoffSettings

MEMORY_SECONDS = 5.0
"""How often memory is told anew."""

NOT_WAITED_FOR = ("encode", "take")
"""Stages that return while the GPU is still at work; it is waited for, or its work would count as the next stage's."""

NONE = "none"
"""Stands for an empty dimension, which TorchServe cannot parse."""


class Metrics:
    """A worker's metrics, by way of TorchServe's own. `batch_size`: the most requests that come together."""

    def __init__(self, cache: Any, device: str, batch_size: int, handoff: Handoff | None = None) -> None:
        self._cache, self._device, self._batch_size, self._handoff = cache, torch.device(device), batch_size, handoff
        self._told: Counter[tuple[str, str]] = Counter()
        self._out_of_memory: dict[str, Callable[[], int]] = {}
        self._out_of_memory_told: Counter[str] = Counter()
        self._memory_told = 0.0
        self._begin()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of the work on a batch, whether it ends well or not: eden_stage_seconds{Stage=name}."""
        started = time.perf_counter()
        try:
            yield
            if self._device.type == "cuda" and name in NOT_WAITED_FOR:
                torch.cuda.synchronize(self._device)
        finally:
            self._add("eden_stage_seconds", MetricTypes.HISTOGRAM, time.perf_counter() - started, name)

    def pairs(self, count: int) -> None:
        """Count frames drawn."""
        self._count("eden_pairs_total", count)

    def watch(self, part: str, out_of_memory: Callable[[], int]) -> None:
        """Tell how often a half of the model ran out of memory: `out_of_memory()` times, so far."""
        self._out_of_memory[part] = out_of_memory
        self._count("eden_out_of_memory_total", 0, part)

    def batch(self, statuses: Sequence[int]) -> None:
        """Count one answered batch, by the HTTP status of each answer, and what the hand-off did meanwhile."""
        self._count("eden_batches_total", 1)
        self._count("eden_requests_total", len(statuses))
        if len(statuses) >= self._batch_size:
            self._count("eden_batches_full_total", 1)
        for status, times in Counter(status for status in statuses if status >= 400).items():
            self._count("eden_refused_total", times, str(status))
        for part, total in ((part, count()) for part, count in self._out_of_memory.items()):
            if gained := total - self._out_of_memory_told[part]:
                self._count("eden_out_of_memory_total", gained, part)
                self._out_of_memory_told[part] = total
        if self._handoff:
            self._hand_off(self._handoff)
        if time.monotonic() - self._memory_told > MEMORY_SECONDS:
            self._memory()

    def _begin(self) -> None:
        """Tell what never changes, and a zero of what may never happen: a series that is missing looks like a fault."""
        self._count("eden_batches_full_total", 0)
        for status in ("400", "503"):
            self._count("eden_refused_total", 0, status)
        if self._handoff:
            self._begin_hand_off(self._handoff.settings)
        self._memory()

    def _begin_hand_off(self, settings: HandoffSettings) -> None:
        self._add("eden_in_flight_limit", MetricTypes.GAUGE, settings.max_in_flight)
        self._add("eden_handoff_budget_bytes", MetricTypes.GAUGE, settings.budget_bytes)
        for event, route in (
            ("fallback", settings.kind),
            ("refused", "capacity"),
            ("dropped", ""),
            ("expired", ""),
            ("abandoned", ""),
        ):
            self._handed(event, route, 0)

    def _hand_off(self, handoff: Handoff) -> None:
        self._add("eden_in_flight", MetricTypes.GAUGE, handoff.in_flight())
        counters = Counter(handoff.counters)
        for (event, route), value in counters.items():
            if gained := value - self._told[event, route]:
                self._handed(event, route, gained)
        self._told = counters

    def _handed(self, event: str, route: str, value: int) -> None:
        if event.endswith("_bytes"):
            self._count("eden_handoff_bytes_total", value, event.removesuffix("_bytes"), route or NONE)
        else:
            self._count("eden_handoff_events_total", value, event, route or NONE)

    def _memory(self) -> None:
        self._memory_told = time.monotonic()
        self._add("eden_memory_bytes", MetricTypes.GAUGE, psutil.Process().memory_info().rss, "host")
        if self._device.type == "cuda":
            held = torch.cuda.memory_reserved(self._device)
            self._add("eden_memory_bytes", MetricTypes.GAUGE, held, str(self._device))

    def _count(self, name: str, value: int, *dimensions: str) -> None:
        self._add(name, MetricTypes.COUNTER, value, *dimensions)

    def _add(self, name: str, kind: MetricTypes, value: float, *dimensions: str) -> None:
        metric = self._cache.get_metric(name, kind)
        metric.add_or_update(value, [self._cache.model_name, "Model", *dimensions])
