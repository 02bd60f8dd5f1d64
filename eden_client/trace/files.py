"""Writes a trace to a file: one for browsers' trace viewers (.json), or a self-contained page (.html)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eden_client.trace.page import as_page
from eden_client.trace.recording import NODE
from tracing.spans import Span

ENDINGS = (".json", ".html")


def write_trace(path: str | Path, spans: Sequence[Span], dropped: int = 0) -> None:
    """Write spans as .json or .html, by the path's ending. `dropped`: spans that were too many to keep.

    Raises ValueError: another ending; OSError: it cannot be written.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: a trace is written as {' or '.join(ENDINGS)}")
    if path.suffix == ".json":
        path.write_text(json.dumps(as_chrome(spans, dropped)), encoding="utf-8")
    else:
        path.write_text(as_page(spans, dropped), encoding="utf-8")


def process_of(span: Span) -> str:
    """The process that measured a span: the client, or a node and its worker."""
    node, worker = str(span.attributes.get(NODE, "")), span.attributes.get("eden.worker")
    return node if worker is None else f"{node} {worker}"


def as_chrome(spans: Sequence[Span], dropped: int = 0) -> dict[str, Any]:
    """The spans in the Trace Event Format, in microseconds, for Perfetto (ui.perfetto.dev) and chrome://tracing.

    A row of these viewers holds nested spans only, so a process with concurrent spans gets several rows.
    """
    events: list[dict[str, Any]] = []
    by_process: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda each: (each.start_ns, -each.end_ns)):
        by_process[process_of(span)].append(span)
    for pid, (process, own) in enumerate(by_process.items(), 1):
        events.append({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": process}})
        for span, row in zip(own, _rows(own), strict=True):
            ids = {"trace_id": span.trace_id, "span_id": span.span_id, "parent_id": span.parent_id}
            events.append(
                {
                    "ph": "X",
                    "cat": "failed" if span.failed else "eden",
                    "name": span.name,
                    "pid": pid,
                    "tid": row,
                    "ts": span.start_ns / 1000,
                    "dur": (span.end_ns - span.start_ns) / 1000,
                    "args": ids | dict(span.attributes),
                }
            )
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"spans_dropped": dropped}}


@dataclass
class _Row:
    open: list[Span] = field(default_factory=list)

    def takes(self, span: Span) -> bool:
        while self.open and self.open[-1].end_ns <= span.start_ns:
            self.open.pop()
        return not self.open or span.end_ns <= self.open[-1].end_ns


def _rows(spans: Sequence[Span]) -> list[int]:
    """The row of each span, the parent's where it has room."""
    rows: list[_Row] = []
    of: dict[str, int] = {}
    for span in spans:
        parents = of.get(span.parent_id or "")
        order = [*([] if parents is None else [parents]), *(row for row in range(len(rows)) if row != parents)]
        row = next((each for each in order if rows[each].takes(span)), len(rows))
        if row == len(rows):
            rows.append(_Row())
        rows[row].open.append(span)
        of[span.span_id] = row
    return [of[span.span_id] + 1 for span in spans]
