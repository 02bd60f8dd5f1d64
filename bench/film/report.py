"""Writes the tables and the picture of what bench.film measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STAGES = ("decode", "send", "server", "encode")
DRAWN = "all cores writing what was served"
"""The name of this way. Frames that the model drew may be easier or harder to encode than copies."""
BOUND = "the bound"
"""The lower of two rates: the model in process, and all cores writing what it drew."""
SHARES = ("ffmpeg", "all cores writing", BOUND)
HEADINGS = (
    "way",
    "frames per second",
    *(f"of {share}" for share in SHARES),
    "first new frame, s",
    "peak, MB",
    *(f"{stage}, s" for stage in STAGES),
)
COLOURS = {
    "ffmpeg": "#9aa5b1",
    "all cores writing": "#616e7c",
    "engine": "#cbb26a",
    "client alone": "#4c86a8",
    "served": "#1f4e79",
    DRAWN: "#7b8794",
}


def write(path: Path, found: dict[str, Any]) -> None:
    """Write `path` with .json, .md and .png."""
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    draw(path.with_suffix(".png"), found)


def markdown(found: dict[str, Any]) -> str:
    """The report: a table per size and preset, with each way's rate as a share of ffmpeg's and of the bounds."""
    lines = [f"{_machine(found)} The command may take {found['memory'] / 2**30:.3g} GiB."]
    for (size, preset), rows in _films(found).items():
        rates = _rates(rows)
        lines += [
            "",
            f"## {size}, {preset}",
            "",
            f"| {' | '.join(HEADINGS)} |",
            "|---" * len(HEADINGS) + "|",
        ]
        for way, row in rows.items():
            shares = [f"{rates[way] / rates[other]:.2f}" if other in rates else "" for other in SHARES]
            stages = row.get("stages", {})
            first = f"{stages['to_first_new_frame']:.2f}" if stages else ""
            peak = f"{row['peak_bytes'] / 2**20:.0f}" if "peak_bytes" in row else ""
            times = [f"{stages[stage]:.1f}" if stages else "" for stage in STAGES]
            lines.append("| " + " | ".join([way, f"{rates[way]:.1f}", *shares, first, peak, *times]) + " |")
    if any(row["way"] == "engine" for row in found["rows"]):
        lines += ["", f"{BOUND.capitalize()}: the smaller of engine and {DRAWN}."]
    return "\n".join(lines) + "\n"


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw the frames per second of each way, in a diagram per size and preset."""
    import matplotlib  # here, since it takes a second to import

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    films = _films(found)
    figure, axes = plt.subplots(1, len(films), figsize=(3.2 * len(films) + 1, 3.2), layout="constrained", squeeze=False)
    for axis, ((size, preset), rows) in zip(axes[0], films.items(), strict=True):
        rates = {way: rate for way, rate in _rates(rows).items() if way != BOUND}
        bars = axis.barh(list(rates), list(rates.values()), color=[COLOURS[way] for way in rates])
        axis.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        axis.set_title(f"{size}, {preset}", fontsize=9)
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("frames per second", fontsize=9)
    figure.suptitle(_machine(found), fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _films(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """The rows of results by (size, preset), and then by way."""
    films: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in found["rows"]:
        films.setdefault((row["size"], row["preset"]), {})[row["way"]] = row
    return films


def _rates(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Frames per second by way, and of the bound where it is known."""
    rates = {way: row["frames"] / row["seconds"] for way, row in rows.items()}
    if "engine" in rates and DRAWN in rates:
        rates[BOUND] = min(rates["engine"], rates[DRAWN])
    return rates


def _machine(found: dict[str, Any]) -> str:
    of = found["machine"]
    gpus = f"{len(of['gpus'])} x {of['gpus'][0]}, " if of["gpus"] else ""
    weights = f" Weights: {found['weights']}." if found["weights"] else ""
    return (
        f"{gpus}{of['cpu']}, {of['cores']} cores, {of['date']}. Twice the frames, libx264, crf 17; the start of each "
        f"program included.{weights}"
    )
