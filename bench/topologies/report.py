"""OUT.json and OUT.md of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.topologies.load import BUSY

NONE = "–"


def shares(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each served row its share of what the same topology does in process, where that was measured."""
    model = {(row["topology"], row["work"]): row for row in rows if row["part"] == "model"}
    for row in rows:
        own = model.get((row["topology"], row.get("in_process", row["work"])))
        if row["part"] == "served" and own:
            row["share"] = row["pairs_s"] / own["pairs_s"]
            if "with_pictures_pairs_s" in own:
                row["share_with_pictures"] = row["pairs_s"] / own["with_pictures_pairs_s"]


def write(out: Path, found: dict[str, Any]) -> None:
    """Write both files."""
    shares(found["rows"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(as_markdown(found), encoding="utf-8")


def as_markdown(found: dict[str, Any]) -> str:
    """The tables."""
    rows: list[dict[str, Any]] = found["rows"]
    lines = ["# Topologies side by side", "", _heading(found), ""]
    lines += ["## In process", "", "Frames in host memory to frames in host memory, pairs/s.", ""]
    lines += _model_table([row for row in rows if row["part"] == "model"])
    lines += ["", "## Served", "", *_load_line([row for row in rows if row["part"] == "served"]), ""]
    lines += _served_table([row for row in rows if row["part"] == "served"])
    lone = [row for row in rows if row["part"] == "lone"]
    if lone:
        lines += ["", "## A lone pair", "", f"{lone[0]['work']}, one caller, an idle server; ms.", ""]
        lines += _lone_table(lone)
    if found["left_out"]:
        lines += ["", "## Left out", "", *(f"- {each}" for each in found["left_out"])]
    return "\n".join([*lines, ""])


def _heading(found: dict[str, Any]) -> str:
    return f"{machine.line(found['machine'])}, {found['precision']}."


def _model_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    topologies = list(dict.fromkeys(row["topology"] for row in rows))
    cells = {(row["topology"], row["work"]): row for row in rows}
    lines = []
    for work in dict.fromkeys(row["work"] for row in rows):
        of_work = [cells.get((topology, work), {}) for topology in topologies]
        batch = next(row["batch"] for row in of_work if row)
        pictures = next((row["with_pictures_pairs_s"] for row in of_work if "with_pictures_pairs_s" in row), None)
        lines.append([work, str(batch), *(_rate(row.get("pairs_s")) for row in of_work), _rate(pictures)])
    heads = ["work", "clips per batch", *topologies, "fused, JPEG in and out on the CPU"]
    return _table(heads, lines)


def _load_line(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    busiest = max(rows, key=lambda row: row["generator_cores_busiest"])
    share = f"{100 * busiest['generator_cores_busiest']:.0f} %"
    verdict = "it may be what was measured there" if busiest["generator_cores_busiest"] > BUSY else "not the limit"
    return [
        f"Load by {busiest['generator_processes']} process(es) of many threads, every answer checked. The busiest one "
        f"took at most {share} of a core ({busiest['work']}, {busiest['setting']}): {verdict}. Shares are of what the "
        "same topology does in process without pictures.",
    ]


def _served_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for work in dict.fromkeys(row["work"] for row in rows):
        for row in (each for each in rows if each["work"] == work):
            lines.append(
                [
                    work, row["topology"], row["setting"], row["jpeg"] or NONE, str(row["users"]),
                    _rate(row["pairs_s"]), *(_ms(row[f"p{each}_ms"]) for each in (50, 95, 99)), str(row["failed"]),
                    _percent(row.get("share")), _busy(row["seen"]),
                ]
            )  # fmt: skip
    heads = ["work", "topology", "setting", "JPEG by", "in flight", "pairs/s", "p50, ms", "p95", "p99", "failed"]
    heads += ["share", "GPUs busy"]
    return _table(heads, lines)


def _lone_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.get("parts_ms", {})))
    names = [*(name for name in names if name != "TorchServe and transport"), "TorchServe and transport"]
    lines = []
    for row in rows:
        parts = row.get("parts_ms", {})
        lines.append(
            [
                row["setting"], row["jpeg"] or NONE, f"{row['calls'] - row['failed']} of {row['calls']}",
                *(_ms(row[name], 1) for name in ("p50_ms", "p95_ms")), *(_ms(parts.get(name), 1) for name in names),
            ]
        )  # fmt: skip
    return _table(["setting", "JPEG by", "answered", "p50", "p95", *names], lines)


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *lines)]


def _rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ms(value: float | None, digits: int = 0) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"


def _busy(seen: dict[str, Any]) -> str:
    """Share of the time that each GPU computes, in the order of the GPUs."""
    busy = [seen[key] for key in sorted(seen) if key.startswith("gpu") and key.endswith("_busy")]
    return ", ".join(map(_percent, busy)) or NONE
