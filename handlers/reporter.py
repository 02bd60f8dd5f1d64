"""A worker's metrics on their way to Prometheus: added up, and reported once per second by a thread.

Each reported value is a line in the worker's log that TorchServe's Java parses. The number of lines depends on the
number of metrics, not of requests; no request waits for them, or fails because of them.

The buckets of TorchServe's own histograms are fixed (5 ms to 10 s). Ours are counters, one per bucket with its upper
bound as the label `le`, and two more for sum and count: to Prometheus these are a histogram.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any

from ts.metrics.metric_type_enum import MetricTypes

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two reports of a busy worker."""
IDLE = 5.0
"""Seconds between two reports of an idle worker, of gauges that change by themselves."""
BOUNDS = "0.003 0.005 0.01 0.02 0.03 0.05 0.1 0.2 0.3 0.5 1 2 3 5 10 20 30 60 +Inf"
BUCKETS = {bound: float(bound) for bound in BOUNDS.split()}
"""Upper bounds of a histogram's buckets, in seconds, by the value of the label `le`."""
_LIMITS = list(BUCKETS.values())

Series = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels, without the labels that all metrics of a worker have."""


@dataclass
class Observed:
    """What a histogram has observed since the last report."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    """Per bucket, not cumulative."""
    seconds: float = 0.0

    def parts(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """(suffix of the name, the label `le` if there is one, growth) per counter that grew; all if none did."""
        count = sum(self.counts)
        for bound, upto in zip(BUCKETS, accumulate(self.counts), strict=True):
            if upto or not count:
                yield "bucket", (bound,), upto
        yield "sum", (), self.seconds
        yield "count", (), count


class Reporter:
    """Collects changes until the next report. Thread-safe. `cache`: TorchServe's metrics of this worker."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._counts: dict[Series, float] = {}
        self._observed: defaultdict[Series, Observed] = defaultdict(Observed)
        self._gauges: dict[Series, float] = {}
        self._told: dict[Series, float] = {}
        self._polls: list[Callable[[], None]] = []
        self._failed: set[str] = set()
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._moved = threading.Event()

    def count(self, name: str, value: float, *labels: str) -> None:
        """Add to a counter; adding 0 makes its series visible."""
        with self._lock:
            self._counts[name, labels] = self._counts.get((name, labels), 0) + value
        self._moved.set()

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add an observation to a histogram."""
        seconds = max(0.0, seconds)
        with self._lock:
            observed = self._observed[name, labels]
            observed.counts[bisect_left(_LIMITS, seconds)] += 1
            observed.seconds += seconds
        self._moved.set()

    def expect(self, name: str, *labels: str) -> None:
        """Make a histogram's series visible before anything is observed: a missing series looks like a fault."""
        with self._lock:
            _ = self._observed[name, labels]

    def gauge(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; a change is reported with the next counter that grows, or after IDLE seconds."""
        with self._lock:
            self._gauges[name, labels] = value

    def poll(self, look: Callable[[], None]) -> None:
        """Call `look` before each report: it sets gauges that change by themselves."""
        self._polls.append(look)

    def start(self) -> None:
        """Start the thread that reports, for as long as the process lives."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def tell(self) -> None:
        """Report now."""
        with self._telling:
            for look in self._polls:
                self._safely("what changes by itself", look)
            with self._lock:
                counts, self._counts = self._counts, {}
                observed, self._observed = self._observed, defaultdict(Observed)
                gauges, self._gauges = self._gauges, {}
            for (name, labels), each in observed.items():
                counts |= {(f"{name}_{part}", (*labels, *le)): value for part, le, value in each.parts()}
            changed = {series: value for series, value in gauges.items() if self._told.get(series) != value}
            self._told |= changed
            for kind, values in ((MetricTypes.COUNTER, counts), (MetricTypes.GAUGE, changed)):
                for series, value in values.items():
                    self._safely(series[0], partial(self._line, kind, series, value))

    def _line(self, kind: MetricTypes, series: Series, value: float) -> None:
        name, labels = series
        self._cache.get_metric(name, kind).add_or_update(value, [self._cache.model_name, "Model", *labels])

    def _safely(self, what: str, act: Callable[[], None]) -> None:
        """Run `act`; an error is logged, once per `what`, and goes no further."""
        try:
            act()
        except Exception:
            if what not in self._failed:
                self._failed.add(what)
                logger.exception("%s cannot be told", what)

    def _run(self) -> None:
        while True:
            self._moved.wait(IDLE)
            self._moved.clear()
            self.tell()
            time.sleep(EVERY)
