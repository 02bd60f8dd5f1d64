"""The metrics of one node. server/metrics.yaml declares them, docs/metrics.md explains them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil
import torch

from handlers.quirks import NodePosition
from handlers.reporter import Reporter
from handoff import Handoff
from serving.answer import Answer
from serving.errors import REFUSALS
from serving.request import Caller, Job, Request
from serving.tracer import Tracer

MEMORY_SECONDS = 5.0
"""Seconds between two readings of the GPU's memory."""

NOT_WAITED_FOR = ("encode", "take")
"""Stages that return before the GPU is done: it is waited for, or its work would count as the next stage's."""

NONE = "none"
"""Stands for an empty label, which TorchServe cannot parse."""

STAGES = {
    NodePosition.FIRST: ("image_decode", "encode", "put"),
    NodePosition.LAST: ("take", "denoise_decode", "image_encode"),
    NodePosition.ALONE: ("image_decode", "encode", "denoise_decode", "image_encode"),
}
TOPOLOGIES = {
    NodePosition.FIRST: ("split", "chain"),
    NodePosition.LAST: ("split", "chain"),
    NodePosition.ALONE: ("fused",),
}


class Metrics:
    """Metrics of one worker.

    worker       its slot among TorchServe's workers (see quirks.worker_slot)
    batch_size   the most requests of a batch
    """

    def __init__(
        self,
        reporter: Reporter,
        device: str,
        batch_size: int,
        position: NodePosition,
        handoff: Handoff | None = None,
        worker: str = "0",
        tracer: Tracer | None = None,
    ) -> None:
        self.tracer = tracer or Tracer()
        self._reporter, self._device, self._batch_size = reporter, torch.device(device), batch_size
        self._position, self._handoff, self._worker = position, handoff, worker
        self._out_of_memory: dict[str, Callable[[], int]] = {}
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._memory_seen = -MEMORY_SECONDS
        self._began: dict[int, float] = {}
        self._begin()

    @contextmanager
    def stage(self, name: str, jobs: Sequence[Job]) -> Iterator[None]:
        """Time one stage of a batch, whether it succeeds or fails: eden_stage_seconds{Stage=name}."""
        started = time.perf_counter()
        try:
            with self.tracer.step(name, jobs):
                yield
                if self._device.type == "cuda" and name in NOT_WAITED_FOR:
                    torch.cuda.synchronize(self._device)
        finally:
            self._reporter.observe("eden_stage_seconds", time.perf_counter() - started, name)

    def pairs(self, count: int) -> None:
        """Count pairs, that is frames drawn between."""
        self._reporter.count("eden_pairs_total", count)

    def began(self, index: int, at: float) -> None:
        """Note when the workflow's first node took up the request with this index: `at`, as of time.time()."""
        self._began[index] = at

    def watch(self, part: str, out_of_memory: Callable[[], int]) -> None:
        """Report `out_of_memory()`, how often this part of the model has run out of memory."""
        self._out_of_memory[part] = out_of_memory
        self._reporter.count("eden_out_of_memory_total", 0, part)

    def batch(self, requests: Sequence[Request], answers: Sequence[Answer], left: Mapping[int, float]) -> None:
        """Count one answered batch. `left`: for answers that were sent ahead of it, when (time.time()), by index."""
        count, now = self._reporter.count, time.time()
        count("eden_batches_total", 1)
        count("eden_requests_total", len(answers))
        if len(answers) >= self._batch_size:
            count("eden_batches_full_total", 1)
        for request, answer in zip(requests, answers, strict=True):
            if answer.status >= 400:
                count("eden_refused_total", 1, str(answer.status), answer.reason or NONE)
            else:
                self._answered(request, left.get(request.index, now))
        self._began.clear()

    def tell(self) -> None:
        """Report now all that has been counted, since this process is about to end."""
        self._reporter.tell()

    def _answered(self, request: Request, at: float) -> None:
        topology = self._topology(request)
        self._reporter.observe("eden_request_seconds", at - request.arrived, topology)
        if self._position is NodePosition.ALONE:
            self._reporter.observe("eden_call_seconds", at - request.arrived, topology)
        elif request.index in self._began:
            self._reporter.observe("eden_call_seconds", at - self._began[request.index], topology)
        self._reporter.gauge("eden_last_answer_timestamp_seconds", at)

    def _topology(self, request: Request) -> str:
        if self._position is NodePosition.ALONE:
            return "fused"
        return "split" if request.caller is Caller.WORKFLOW else "chain"

    def _begin(self) -> None:
        """Report constants, and zeros for events that may never happen: a missing series looks like a fault."""
        reporter = self._reporter
        for name in ("eden_requests_total", "eden_batches_total", "eden_batches_full_total"):
            reporter.count(name, 0)
        for status, reason in REFUSALS:
            reporter.count("eden_refused_total", 0, str(status), reason)
        for stage in STAGES[self._position]:
            reporter.expect("eden_stage_seconds", stage)
        for topology in TOPOLOGIES[self._position]:
            reporter.expect("eden_request_seconds", topology)
        if self._position is not NodePosition.FIRST:
            reporter.expect("eden_call_seconds", TOPOLOGIES[self._position][0])
            reporter.count("eden_pairs_total", 0)
        if self._handoff:
            self._begin_hand_off(self._handoff)
        reporter.poll(self._look)

    def _begin_hand_off(self, handoff: Handoff) -> None:
        settings = handoff.settings
        if self._position is NodePosition.FIRST:
            self._reporter.gauge("eden_in_flight_limit", settings.max_in_flight, self._worker)
            self._reporter.gauge("eden_handoff_budget_bytes", settings.budget_bytes, self._worker)
        for event, route in (
            ("fallback", settings.kind),
            ("refused", "capacity"),
            ("dropped", ""),
            ("expired", ""),
            ("abandoned", ""),
        ):
            self._handed(event, route, 0)

    def _look(self) -> None:
        for part, count in self._out_of_memory.items():
            if gained := self._gained(count(), part):
                self._reporter.count("eden_out_of_memory_total", gained, part)
        if self._handoff:
            self._hand_off(self._handoff)
        if time.monotonic() - self._memory_seen >= MEMORY_SECONDS:
            self._memory()

    def _hand_off(self, handoff: Handoff) -> None:
        if self._position is NodePosition.FIRST:
            self._reporter.gauge("eden_in_flight", handoff.in_flight(), self._worker)
            self._reporter.gauge("eden_in_flight_bytes", handoff.in_flight_bytes(), self._worker)
        for (event, route), value in Counter(handoff.counters).items():
            if gained := self._gained(value, event, route):
                self._handed(event, route, gained)

    def _gained(self, total: int, *of: str) -> int:
        """How much a total has grown since the last call."""
        gained = total - self._seen[of]
        self._seen[of] = total
        return gained

    def _handed(self, event: str, route: str, value: int) -> None:
        if event.endswith("_bytes"):
            name, event = "eden_handoff_bytes_total", event.removesuffix("_bytes")
        else:
            name = "eden_handoff_events_total"
        self._reporter.count(name, value, event, route or NONE)

    def _memory(self) -> None:
        self._memory_seen = time.monotonic()
        resident = psutil.Process().memory_info().rss
        self._reporter.gauge("eden_memory_bytes", resident, self._worker, "host")
        if self._device.type == "cuda":
            held = torch.cuda.memory_reserved(self._device)
            self._reporter.gauge("eden_memory_bytes", held, self._worker, str(self._device))
