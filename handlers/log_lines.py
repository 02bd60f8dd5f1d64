"""A worker's log lines about requests: with request ids, and as JSON if the setting `handler.logs` says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from serving.answer import Answer
from serving.request import Request
from serving.tracer import Tracer

OURS = ("handlers", "serving", "eden", "handoff", "media", "tracing", "server")
"""Packages whose log lines become JSON. Other lines stay as they are: TorchServe's Java parses some of them."""
FIELDS = ("ms", "requests")
"""Fields that a line may have besides its text."""


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the fields in FIELDS that it has."""

    def __init__(self, plain: logging.Formatter) -> None:
        super().__init__()
        self._plain = plain

    def format(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] not in OURS:
            return self._plain.format(record)
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def use_json() -> None:
    """Format this worker's own log lines as JSON from now on."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, JsonLines):
            handler.setFormatter(JsonLines(handler.formatter or logging.Formatter()))


def log_batch(
    logger: logging.Logger, requests: Sequence[Request], answers: Sequence[Answer], tracer: Tracer, seconds: float
) -> None:
    """Log one line per answered batch: how long it took, and the id, trace and status of each request."""
    answered = [
        {"id": request.id, "status": answer.status} | ({"trace": trace} if (trace := tracer.trace_id(request)) else {})
        for request, answer in zip(requests, answers, strict=True)
    ]
    names = ", ".join(" ".join(map(str, each.values())) for each in answered)
    refused = sum(answer.status >= 400 for answer in answers)
    logger.info(
        "batch of %d, %d refused, %.1f ms: %s", len(requests), refused, 1e3 * seconds, names,
        extra={"ms": round(1e3 * seconds, 1), "requests": answered},
    )  # fmt: skip
