"""The report's picture: throughput against latency, settings, stages, what serving costs, batches, cameras."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from bench.capacity.samples import STAGES
from bench.capacity.verdict import best_of, knee_of, name_of, nodes_of, overheads, sweep

COST = {"engine": "one process, model alone", "with_pictures": "one process, with pictures", "served": "served"}
COLOURS = matplotlib.color_sequences["tab10"]


def draw(found: Mapping[str, Any], machine: str) -> bytes:
    """A PNG. machine: what it ran on, in words."""
    rows = found["rows"]
    first = next(row["setting"] for row in rows)
    workloads = list(dict.fromkeys(name_of(row) for row in rows if row["setting"] == first and row["kind"] == "sweep"))
    figure, axes = plt.subplots(2, 3, figsize=(17, 9.5), constrained_layout=True)
    _latency(axes[0, 0], rows, first, workloads)
    _settings(axes[0, 1], rows)
    _stages(axes[0, 2], rows, first, workloads)
    _cost(axes[1, 0], overheads(found))
    _batches(axes[1, 1], rows, first, workloads)
    _cameras(axes[1, 2], [row for row in rows if row["kind"] == "cameras"], found["plan"]["camera_rate"])
    figure.suptitle(f"EDEN on TorchServe: {machine}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    plt.close(figure)
    return picture.getvalue()


def _latency(axes: Axes, rows: Sequence[Mapping[str, Any]], setting: str, workloads: Sequence[str]) -> None:
    for colour, workload in zip(COLOURS, workloads, strict=False):
        steps = [row for row in sweep(rows, setting, workload) if row["p95_ms"]]
        if not steps:
            continue
        xs = [row["pairs_a_second"] for row in steps]
        axes.plot(xs, [row["p95_ms"] for row in steps], "o-", color=colour, label=workload)
        axes.plot(xs, [row["p50_ms"] for row in steps], ":", color=colour)
        knee = knee_of(steps)
        axes.plot(knee["pairs_a_second"], knee["p95_ms"], "*", color=colour, markersize=18)
    axes.set(title="Latency by throughput (dotted: p50; star: knee)", xlabel="pairs per second", ylabel="p95, ms")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _settings(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    compared = [
        workload
        for workload in dict.fromkeys(name_of(row) for row in rows)
        if len({row["setting"] for row in rows if name_of(row) == workload and row["kind"] == "sweep"}) > 1
    ]
    height = 0.8 / max(1, len(compared))
    for number, workload in enumerate(compared):
        for place, setting in enumerate(settings):
            steps = sweep(rows, setting, workload)
            if steps:
                best = best_of(steps)["pairs_a_second"]
                label = "" if place else workload
                axes.barh(place + number * height, best, height, color=COLOURS[number], label=label)
                axes.text(best, place + number * height, f" {best:.1f}", va="center", fontsize=8)
    names = [textwrap.fill(setting, 26) for setting in settings]
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(settings))], names, fontsize=7)
    axes.invert_yaxis()
    axes.set(title="Best throughput of each setting", xlabel="pairs per second")
    if compared:
        axes.legend(fontsize=8)


def _stages(axes: Axes, rows: Sequence[Mapping[str, Any]], setting: str, workloads: Sequence[str]) -> None:
    for place, workload in enumerate(workloads):
        row = best_of(sweep(rows, setting, workload))
        left = 0.0
        for colour, stage in zip(COLOURS, STAGES, strict=False):
            ms = row.get(f"{stage}_ms_a_pair") or 0.0
            axes.barh(place, ms, left=left, color=colour, label=stage if not place else "")
            left += ms
    axes.set_yticks(range(len(workloads)), workloads, fontsize=8)
    axes.invert_yaxis()
    axes.set(title="Time of a pair by stage, at saturation", xlabel="ms of a worker's time")
    axes.legend(fontsize=8)


def _cost(axes: Axes, costs: Sequence[Mapping[str, Any]]) -> None:
    for place, cost in enumerate(costs):
        for offset, (key, what) in enumerate(COST.items()):
            label = "" if place else what
            axes.barh(place + 0.27 * offset, cost[key], 0.25, color=COLOURS[offset], label=label)
        axes.text(cost["served"], place + 0.54, f" {cost['share']:.0%}", va="center", fontsize=8)
    axes.set_yticks([place + 0.27 for place in range(len(costs))], [cost["workload"] for cost in costs], fontsize=8)
    axes.invert_yaxis()
    axes.set(title="What serving costs", xlabel="pairs per second")
    axes.legend(fontsize=8)


def _batches(axes: Axes, rows: Sequence[Mapping[str, Any]], setting: str, workloads: Sequence[str]) -> None:
    for colour, workload in zip(COLOURS, workloads, strict=False):
        steps = [row for row in sweep(rows, setting, workload) if row.get(f"{nodes_of(row)[-1]}_requests_a_batch")]
        *before, drawing = nodes_of(rows[0])
        for node, style in (*((each, ":") for each in before), (drawing, "o-")):
            axes.plot(
                [row["users"] for row in steps],
                [row[f"{node}_requests_a_batch"] for row in steps],
                style,
                color=colour,
                label=f"{workload}, {node}",
            )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(title="Requests per batch", xlabel="requests at once", ylabel="requests")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _cameras(axes: Axes, rows: Sequence[Mapping[str, Any]], rate: float) -> None:
    axes.bar([str(row["users"]) for row in rows], [100 * row["late"] for row in rows], color=COLOURS[3])
    axes.set(title=f"Cameras of {rate:g} pairs/s: late or skipped", xlabel="cameras", ylabel="% of pairs due")
    if not rows:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
