"""Writes the tables and the picture of what bench.gpus measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import machine


def write(out: Path, found: dict[str, Any]) -> None:
    """Write `out` with .json, .md and .png."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    if found["rows"]:
        draw(out.with_suffix(".png"), found["rows"])


def markdown(found: Mapping[str, Any]) -> str:
    """The report: a table for films and one for pairs."""
    bound = "bound to cores of their own" if found["bound_to_cores"] else "not bound to cores"
    lines = [
        "# More GPUs of one host",
        "",
        f"{machine.line(found['machine'])}, {found['precision']}. {found['processors_per_gpu']} processors per GPU, "
        f"{bound}. `python -m bench.gpus`",
    ]
    of_films = [row for row in found["rows"] if row["part"] == "films"]
    if of_films:
        film = found["film"]
        lines += [
            "",
            "## Films by Ray",
            "",
            f"A film of {film['frames']} frames of {film['size']} per GPU, doubled, libx264 at crf 17; a node with an "
            f"engine per GPU, which makes at most {film['lanes']} segments side by side. From the first finished "
            "segment to the last, with the engines loaded before. Linear: the rate with one GPU, times their number.",
            "",
            *_table(of_films, _FILM_COLUMNS),
        ]
    of_pairs = [row for row in found["rows"] if row["part"] == "pairs"]
    if of_pairs:
        lines += [
            "",
            "## Pairs behind HAProxy",
            "",
            "A TorchServe of the fused model per GPU; HAProxy with deploy/haproxy.cfg and buffers of 256 KiB.",
            "",
            *_table(of_pairs, _PAIR_COLUMNS),
        ]
    if found["left_out"]:
        lines += ["", "Left out for lack of time: " + "; ".join(found["left_out"]) + "."]
    return "\n".join(lines) + "\n"


def share_of_linear(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float | None:
    """A row's rate over what linear growth from one GPU would give; None: one GPU was not measured."""
    one = next((each for each in rows if each["gpus"] == 1 and _series(each)[:2] == _series(row)[:2]), None)
    return row["pairs_s"] / (row["gpus"] * one["pairs_s"]) if one else None


def draw(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw pairs per second by the number of GPUs, and dotted what linear growth would give."""
    import matplotlib  # here, since it takes a second to import

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parts = list(dict.fromkeys(row["part"] for row in rows))
    figure, axes = plt.subplots(1, len(parts), figsize=(4.2 * len(parts), 3.4), layout="constrained", squeeze=False)
    for axis, part in zip(axes[0], parts, strict=True):
        of_part = [row for row in rows if row["part"] == part]
        for series in dict.fromkeys(map(_series, of_part)):
            points = [(row["gpus"], row["pairs_s"]) for row in of_part if _series(row) == series]
            (line,) = axis.plot(*zip(*points, strict=True), marker="o", label=", ".join(series[1:]))
            if points[0][0] == 1:
                most = max(row["gpus"] for row in of_part)
                axis.plot([1, most], [points[0][1], most * points[0][1]], ":", color=line.get_color(), linewidth=1)
        axis.set_title({"films": "films by Ray", "pairs": "pairs behind HAProxy"}[part], fontsize=9)
        axis.set_xlabel("GPUs", fontsize=8)
        axis.set_xticks(sorted({row["gpus"] for row in of_part}))
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("pairs per second (dotted: linear)", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _series(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What rows of one line have in common; rows that share the first two are compared with the same one-GPU rate."""
    if row["part"] == "pairs":
        return "pairs", row["work"]
    return "films", row["preset"], "a command per GPU" if row["commands"] == row["gpus"] else "one command"


_FILM_COLUMNS = {
    "GPUs": lambda row: str(row["gpus"]),
    "libx264's preset": lambda row: row["preset"],
    "commands": lambda row: str(row["commands"]),
    "pairs/s": lambda row: f"{row['pairs_s']:.0f}",
    "of linear": lambda row: _percent(row["share"]),
    "GPUs busy": lambda row: _percents(row["gpu_busy"]),
    "nodes' cores": lambda row: f"{row['node_cores']:.1f}",
    "busiest command's cores": lambda row: _number(row["busiest_command_cores"]),
    "first segment after, s": lambda row: f"{row['first_segment_s']:.1f}",
    "measured for, s": lambda row: f"{row['seconds']:.1f}" + ("" if row["whole"] else " (then ended)"),
}
_PAIR_COLUMNS = {
    "GPUs": lambda row: str(row["gpus"]),
    "pairs of": lambda row: row["work"],
    "callers": lambda row: str(row["users"]),
    "pairs/s": lambda row: f"{row['pairs_s']:.0f}",
    "of linear": lambda row: _percent(row["share"]),
    "p50, ms": lambda row: _number(row["p50_ms"], 0),
    "p95, ms": lambda row: _number(row["p95_ms"], 0),
    "failed": lambda row: str(row["failed"]),
    "GPUs busy": lambda row: _percents(row["gpu_busy"]),
    "servers' cores": lambda row: f"{row['server_cores']:.1f}",
    "busiest caller's core": lambda row: _percent(row["generator_cores_busiest"]),
}


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        told = {**row, "share": share_of_linear(row, rows)}
        lines.append("| " + " | ".join(tell(told) for tell in columns.values()) + " |")
    return lines


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _percents(values: Sequence[float]) -> str:
    return ", ".join(map(_percent, values))
