"""What both nodes do alike: start on their device, serve each item of a batch by itself, and never raise."""

from __future__ import annotations

import atexit
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from handlers.answer import Answer
from handlers.faults import envelope
from handlers.fields import keep_fields
from handlers.heap import keep_freed_memory
from handlers.metrics import Metrics
from handlers.replies import Replies
from handlers.settings import Settings, sensible_threads
from handoff import Handoff, open_handoff

logger = logging.getLogger(__name__)

LEAST_SECONDS = 0.004
"""TorchServe loses answers that come faster than about 1 ms."""


@dataclass
class Item:
    """One request of a batch, and its answer once it has one."""

    index: int
    fields: Mapping[str, Any]
    headers: Mapping[str, str]
    caller: str
    """workflow; or, of the node by itself: http, grpc"""
    answer: Answer | None = None
    work: dict[str, Any] = field(default_factory=dict)
    """what the steps so far made of it"""

    def attempt(self, step: Callable[[Item], None]) -> None:
        """Run one step; what it raises becomes this item's answer, and the others go on."""
        if self.answer is not None:
            return
        try:
            step(self)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Answer with an error's envelope."""
        told = envelope(error)
        if told["code"] == 500:
            logger.error("request failed", exc_info=error)
        self.answer = Answer.envelope(told)


class Stage(ABC):
    """A node of the workflow; also a model of its own under /predictions/."""

    def initialize(self, context: Any) -> None:
        """Load the model onto its device. Raises ValueError or eden.CheckpointError: the worker then does not start."""
        keep_fields()
        keep_freed_memory()
        properties = context.system_properties
        self.device = _device(properties.get("gpu_id"), context.model_yaml_config)
        self.settings = Settings.read(context.model_yaml_config, Path(properties["model_dir"]))
        torch.set_num_threads(self.settings.threads or sensible_threads(self.device, self.settings.workers))
        most = properties["batch_size"]
        self.batch_sizes = sorted({most, *(2**i for i in range(most.bit_length()))})
        self.load()
        self.handoff: Handoff = open_handoff(self.settings.handoff, device=self.device)
        if self.settings.handoff.kind == "inline" and most > 1:
            logger.warning(
                "hand-off inline with batches of up to %d: every clip's tensors pass through TorchServe, which holds "
                "and copies a batch's several times over; with any other kind only tickets do", most,
            )  # fmt: skip
        atexit.register(self.handoff.close)  # a worker ends so when its TorchServe is gone
        self.metrics = Metrics(context.metrics, self.device, most, self.handoff)
        # two pools: a request waits for its pictures, so those must never wait for a request
        self.requests = ThreadPoolExecutor(most, thread_name_prefix="requests")
        self.pictures = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="pictures")
        logger.info(
            "%s ready on %s: %s, hand-off %s",
            context.model_name, self.device, self.settings.precision, self.settings.handoff.kind,
        )  # fmt: skip

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch: as many answers as requests, in their order."""
        started = time.monotonic()
        items = [_item(context, i, fields) for i, fields in enumerate(data)]
        replies = Replies(context, [item.caller for item in items], self.settings.grpc_streaming)
        try:
            self.serve(items, replies)
        except Exception as error:
            logger.exception("a batch of %d failed", len(items))
            for item in items:
                item.answer or item.fail(error)
        answers = [self.outgoing(item, item.answer or _unanswered(item)) for item in items]
        self.metrics.batch([answer.status for answer in answers])
        refused = sum(answer.status >= 400 for answer in answers)
        logger.info("batch of %d, %d refused, %.1f ms", len(items), refused, 1e3 * (time.monotonic() - started))
        time.sleep(max(0.0, started + LEAST_SECONDS - time.monotonic()))
        return replies.rest(answers)

    @abstractmethod
    def load(self) -> None:
        """Load this stage's half of the model."""

    @abstractmethod
    def serve(self, items: list[Item], replies: Replies) -> None:
        """Give every item its answer; large ones may go ahead."""

    def outgoing(self, item: Item, answer: Answer) -> Answer:
        """The answer in the form in which it leaves this node."""
        return answer

    def side_by_side(self, items: Iterable[Item], step: Callable[[Item], None]) -> None:
        """Run a step of every open item in threads: for pictures, whose codecs let go of the interpreter."""
        list(self.requests.map(lambda item: item.attempt(step), items))

    def group(self, items: Iterable[Item], step: Callable[[list[Item]], None]) -> None:
        """Run a step on the open items of each grid together."""
        groups: dict[Any, list[Item]] = {}
        for item in items:
            if item.answer is None:
                groups.setdefault(item.work["grid"], []).append(item)
        for group in groups.values():
            step(group)

    def compute(self, group: list[Item], step: Callable[[list[Item]], None]) -> None:
        """Run a step on a group together; if that fails, on each item alone, so that a bad one spares the others."""
        try:
            if group:
                step(group)
        except Exception as error:
            logger.warning("computing %d clips together failed, each alone now: %s", len(group), error)
            for item in group:
                item.attempt(lambda item: step([item]))


def _device(gpu: int | None, yaml: Mapping[str, Any]) -> str:
    wanted = yaml.get("deviceIds")
    device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
    if wanted and (device == "cpu" or gpu not in wanted):
        logger.warning(
            "deviceIds asks for GPU %s, this host has %d: running on %s", wanted, torch.cuda.device_count(), device
        )
    return device


def _item(context: Any, index: int, fields: dict[str, Any]) -> Item:
    properties = context.get_all_request_header(index)
    headers = {name.lower(): value for name, value in properties.items() if isinstance(value, str)}
    # TorchServe adds url_path to every HTTP call of /predictions/, and gives a gRPC call no headers at all.
    caller = "http" if "url_path" in headers else "workflow" if headers else "grpc"
    return Item(index, fields, headers, caller)


def _unanswered(item: Item) -> Answer:
    item.fail(RuntimeError("the handler gave no answer"))
    assert item.answer
    return item.answer
