"""Conclusions from the figures: the knee, the number of cameras, the cost of serving, the settings to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.capacity.plan import Setting, Workload
from bench.capacity.samples import STAGES
from loadtest._phases import knee

Row = Mapping[str, Any]

NODE_STAGES = {
    "encoder": STAGES[:3],
    "decoder": STAGES[3:],
    "fused": tuple(stage for stage in STAGES if stage not in ("put", "take")),
}
WORKERS = {"encoder": "encoders", "decoder": "decoders", "fused": "fused_workers"}
"""Per node, the setting that states its number of processes."""


def sweep(rows: Iterable[Row], setting: str, workload: Workload | str) -> list[Row]:
    """The steps of a workload with a setting."""
    return [
        row for row in rows if row["kind"] == "sweep" and row["setting"] == setting and name_of(row) == str(workload)
    ]


def name_of(row: Row) -> str:
    """The workload of a row, as `str(Workload)` writes it."""
    return str(Workload(row["height"], row["width"], row["clip"], row["format"], ()))


def knee_of(steps: Sequence[Row]) -> Row:
    """The smallest load that reaches 95 % of the best throughput. Raises ValueError: there is no step."""
    return steps[knee([row["pairs_a_second"] for row in steps])]


def best_of(steps: Sequence[Row]) -> Row:
    """The step with the best throughput: saturation."""
    return max(steps, key=lambda row: row["pairs_a_second"])


def saturated_pairs(rows: Iterable[Row], setting: Setting, workload: Workload) -> float:
    """The pairs per second that a setting reaches with a workload."""
    return float(best_of(sweep(rows, str(setting), workload))["pairs_a_second"])


def held_cameras(rows: Sequence[Row], setting: Setting, rate: float) -> tuple[Row, int] | None:
    """A step of the first streaming workload, and the number of cameras that get `rate` pairs per second each by it.

    A camera with one pair in flight keeps up if it would get more than its rate unthrottled. None: not even one does.
    """
    streaming = [row for row in rows if row["kind"] == "sweep" and row["setting"] == str(setting) and row["clip"] == 2]
    steps = [row for row in streaming if name_of(row) == name_of(streaming[0])]
    able = [row for row in steps if row["pairs_a_second"] / row["users"] >= rate]
    if not able:
        return None
    row = max(able, key=lambda row: row["users"])
    most = max(each["pairs_a_second"] for each in steps)
    # between this step and the next: as many as the best throughput feeds, with a tenth to spare
    return row, max(row["users"], int(0.9 * most / rate))


def nodes_of(row: Row) -> tuple[str, ...]:
    """The nodes that did the work of a row; the last one draws."""
    return ("fused",) if row.get("topology") == "fused" else ("encoder", "decoder")


def bottleneck(row: Row) -> str:
    """The busiest node and its work, in words."""
    at_work = {node: row.get(f"{node}_busy", 0.0) / row[WORKERS[node]] for node in nodes_of(row)}
    node, busy = max(at_work.items(), key=lambda each: each[1])
    spent = {stage: row.get(f"{stage}_ms_a_pair") or 0.0 for stage in NODE_STAGES[node]}
    total = sum(spent.values()) or 1.0
    shares = ", ".join(f"{stage} {ms / total:.0%}" for stage, ms in sorted(spent.items(), key=lambda each: -each[1]))
    if node == "fused":
        return f"eden_fused is at work {busy:.0%} of the time ({shares})"
    called = {"encoder": "the encoder", "decoder": "dit_decoder"}[node]
    return f"{called} is the busier node, at work {busy:.0%} of the time ({shares})"


def overheads(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The best throughput of each workload with any setting, beside that of the engine in one process."""
    said = []
    for engine in found["engine"]:
        workload = name_of(engine)
        steps = [row for row in found["rows"] if row["kind"] == "sweep" and name_of(row) == workload]
        if not steps:
            continue
        best = best_of(steps)
        said.append(
            {
                "workload": workload,
                "engine": engine["engine"],
                "with_pictures": engine["with_pictures"],
                "served": best["pairs_a_second"],
                "share": best["pairs_a_second"] / engine["engine"],
                "share_with_pictures": best["pairs_a_second"] / engine["with_pictures"],
                "setting": best["setting"],
                "users": best["users"],
                "why": bottleneck(best),
            }
        )
    return said


def advice(found: Mapping[str, Any]) -> list[str]:
    """Recommended settings, in sentences."""
    rows, plan = [row for row in found["rows"] if row["kind"] == "sweep" and row["p95_ms"]], found["plan"]
    target = plan["latency_target"]
    said = []
    for workload in dict.fromkeys(name_of(row) for row in rows if row["clip"] == 2):
        steps = [row for row in rows if name_of(row) == workload and row["p95_ms"]]
        within = [row for row in steps if row["p95_ms"] <= 1e3 * target]
        if within:
            best = best_of(within)
            said.append(
                f"Streaming, {workload}, 19 of 20 pairs within {target:g} s: {best['setting']}. It gives "
                f"{best['pairs_a_second']:.1f} pairs per second to {best['users']} at once "
                f"(p95 {best['p95_ms']:.0f} ms)."
            )
        elif steps:
            quickest = min(steps, key=lambda row: row["p95_ms"])
            said.append(
                f"Streaming, {workload}: nothing measured answers 19 of 20 pairs within {target:g} s; the quickest is "
                f"{quickest['setting']} with {quickest['users']} at once (p95 {quickest['p95_ms']:.0f} ms)."
            )
    for workload in dict.fromkeys(name_of(row) for row in rows if row["clip"] > 2):
        best = best_of([row for row in rows if name_of(row) == workload])
        said.append(
            f"Batch, {workload}, as many pairs as possible: {best['setting']}, {best['users']} clips at once. "
            f"It gives {best['pairs_a_second']:.1f} pairs per second; a clip takes {best['p50_ms'] / 1e3:.1f} s."
        )
    return said
