"""The base of the handlers: start on a device, turn a batch into requests, serve and answer them."""

from __future__ import annotations

import atexit
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from handlers import quirks
from handlers.drain import Drain
from handlers.log_lines import log_batch, use_json
from handlers.metrics import Metrics
from handlers.reporter import Reporter
from handlers.worker_exit import exit_after_answer
from handoff import Handoff, open_handoff
from media.machine import cores
from server.pause import pause_until
from serving.answer import Answer
from serving.device_health import DeviceGuard
from serving.errors import envelope, reason
from serving.outbox import Outbox
from serving.request import Request
from serving.settings import Settings, sensible_threads, server_folder
from serving.span_export import EVENTS, SpanExport, endpoint
from serving.tracer import Tickets, Tracer, place_of

logger = logging.getLogger(__name__)

TICKETS: dict[quirks.NodePosition, Tickets] = {
    quirks.NodePosition.FIRST: "gives",
    quirks.NodePosition.LAST: "takes",
    quirks.NodePosition.ALONE: None,
}
"""What a node does with tickets, by its position in the workflow."""


class NodeHandler(ABC):
    """A node of the workflow, or a model outside of it; both can be called under /predictions/."""

    hands_off = True
    """Whether this node puts or takes tokens by a hand-off."""
    position = quirks.NodePosition.ALONE
    """The position of the node in the workflow."""

    def initialize(self, context: Any) -> None:
        """Load the model onto its device. Raises ValueError or eden.CheckpointError; the worker then does not start."""
        quirks.keep_fields()
        quirks.keep_freed_memory()
        reporter, worker = Reporter(context.metrics), quirks.worker_slot()
        reporter.count("eden_worker_starts_total", 1, worker)
        reporter.tell()  # at once: loading may fail
        properties = context.system_properties
        self.model_name = context.model_name
        self.device = quirks.device_of(properties.get("gpu_id"), context.model_yaml_config)
        self.settings = Settings.read(context.model_yaml_config, Path(properties["model_dir"]))
        if self.settings.logs == "json":
            use_json()
        nodes = 2 if self.hands_off else 1
        torch.set_num_threads(self.settings.threads or sensible_threads(self.device, self.settings.workers, nodes))
        self.batch_size: int = properties["batch_size"]
        self.handoff = self._open_handoff() if self.hands_off else None
        self.drain = Drain(server_folder(), self.handoff.in_flight if self.handoff else lambda: 0)
        reporter.poll(self.drain.look)
        self.node = self.model_name.removeprefix("eden__")
        export = self._open_export(reporter, worker)
        tracer = Tracer(self.node, worker, TICKETS[self.position], export, self.settings.tracing.sample)
        self.metrics = Metrics(reporter, self.device, self.batch_size, self.position, self.handoff, worker, tracer)
        # two pools: a request's thread waits for pictures, so pictures must never wait for a request's thread
        self.requests = ThreadPoolExecutor(self.batch_size, thread_name_prefix="requests")
        self.pictures = ThreadPoolExecutor(min(16, cores()), thread_name_prefix="pictures")
        self.guard = DeviceGuard(torch.device(self.device))
        self.start()
        quirks.when_answered(self.drain.release)
        reporter.start()
        logger.info("%s ready on %s: %s", self.model_name, self.device, self.settings.precision)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch: one answer per request, in the same order."""
        started = time.monotonic()
        requests = [quirks.read_request(context, index, fields, self.position) for index, fields in enumerate(data)]
        callers = [request.caller for request in requests]
        self.metrics.tracer.begin(requests)
        replies = quirks.Replies(context, callers, self.settings.grpc_streaming, self.position)
        try:
            answers = self.serve(requests, replies)
        except Exception as error:
            logger.exception("a batch of %d failed", len(requests))
            explained = self.guard.explain(error)
            failed = Answer.envelope(envelope(explained), reason(explained))
            answers = [self.outgoing(request, failed) for request in requests]
        self.metrics.batch(requests, answers, replies.left)
        log_batch(logger, requests, answers, self.metrics.tracer, time.monotonic() - started)
        if self.guard.lost:
            logger.error("%s: the context of %s is lost, this worker ends", self.model_name, self.device)
            self.metrics.tell()
            exit_after_answer()
        pause_until(started)
        return replies.rest(answers)

    @abstractmethod
    def start(self) -> None:
        """Load the model and make the service."""

    @abstractmethod
    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """One answer per request, in order; large ones may be sent ahead by `outbox`."""

    def outgoing(self, request: Request, answer: Answer) -> Answer:
        """An answer in the form in which it leaves this node."""
        return answer

    def batch_sizes(self) -> list[int]:
        """Batch sizes to warm up for."""
        return sorted({self.batch_size, *(2**i for i in range(self.batch_size.bit_length()))})

    def _open_export(self, reporter: Reporter, worker: str) -> SpanExport | None:
        """Raises ValueError if the settings name a collector and OpenTelemetry is not installed."""
        settings = self.settings.tracing
        for event in EVENTS:
            reporter.count("eden_spans_total", 0, event)
        url = endpoint(settings.endpoint)
        if url is None:
            return None
        where = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()  # without a password
        logger.info("spans go to %s", where)
        try:
            place = place_of(self.node, worker)
            return SpanExport(url, self.model_name, place, settings.queue, partial(_count_spans, reporter))
        except ModuleNotFoundError as error:
            why = f"no spans can go to {where}: {error.name} is not installed (pip install 'path/to/checkout[tracing]')"
            if settings.endpoint:
                raise ValueError(why) from error
            logger.warning(why)  # the environment's variable may be meant for other programs
            return None

    def _open_handoff(self) -> Handoff:
        handoff = open_handoff(self.settings.handoff, device=self.device)
        atexit.register(handoff.close)  # when TorchServe is gone, a worker ends through atexit
        logger.info("hand-off %s", self.settings.handoff.kind)
        if self.settings.handoff.kind == "inline" and self.batch_size > 1:
            logger.warning(
                "hand-off inline with batches of up to %d: every clip's tensors pass through TorchServe, which holds "
                "and copies a batch's several times over; with any other kind only tickets do", self.batch_size,
            )  # fmt: skip
        return handoff


def _count_spans(reporter: Reporter, event: str, count: int) -> None:
    reporter.count("eden_spans_total", count, event)
