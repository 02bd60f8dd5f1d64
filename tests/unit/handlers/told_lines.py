"""What a worker's log tells TorchServe, read as TorchServe reads it."""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable

from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from server.settings import PROJECT

LINE = re.compile(
    r"\s*([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)(\|#type:([^|,]+))?\|#hostname:([^,]+),([^,]+)(,(.*))?"
)
"""The pattern of TorchServe's org.pytorch.serve.metrics.Metric."""


class ToldLines(logging.Handler):
    """Counters added up and gauges as last told, by name and labels; `lines`: each in turn.

    Of one model alone: nodes that other tests have started tell of themselves as long as the process lives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = f"model-{secrets.token_hex(8)}"
        self.lines: list[str] = []
        self.values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if not line.startswith("[METRICS]"):
            return
        matched = LINE.fullmatch(line.removeprefix("[METRICS]"))
        assert matched, f"TorchServe cannot read {line}"
        labels = dict(pair.split(":") for pair in matched[4].split(","))
        if labels.pop("ModelName") != self.model:
            return
        assert labels.pop("Level") == "Model"
        series = (matched[1], *labels.values())
        with self._changed:
            self.lines.append(line)
            self.values[series] = float(matched[3]) + (self.values[series] if matched[6] == "COUNTER" else 0)
            self._changed.notify_all()

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        """A metric's values, by its labels."""
        return {series[1:]: value for series, value in self.values.items() if series[0] == name}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 120)

    def metrics(self) -> MetricsCacheYamlImpl:
        """TorchServe's own metrics, of a worker of the model."""
        return declared_metrics(self.model)


def declared_metrics(model: str) -> MetricsCacheYamlImpl:
    """TorchServe's own, of a worker of a model."""
    cache = MetricsCacheYamlImpl(str(PROJECT / "server" / "metrics.yaml"))
    cache.initialize_cache()
    cache.model_name = model
    return cache
