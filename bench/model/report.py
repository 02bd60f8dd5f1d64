"""The table and the picture of what bench.model measured.

python -m bench.model.report bench/results/model-h200     # again, from its .json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from media.signals import exit_when_told_to

GOALS = {
    ("256x448", 1): (3.0, 1.5), ("256x448", 8): (0.7, 0.4),
    ("480x854", 1): (4.0, 2.0), ("480x854", 8): (2.2, 1.4),
    ("1080x1920", 1): (14, 9), ("1080x1920", 4): (12, 8.5),
    ("2160x3840", 1): (120, 80),
}  # fmt: skip
"""ms per pair from tokens to frames, one H200, bf16: (goal, stretch)."""

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e", "#9498a0")


def write_report(path: Path) -> None:
    """Write PATH.md and PATH.png from PATH.json."""
    results = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(_markdown(results), encoding="utf-8")
    _picture(results, path.with_suffix(".png"))


def _markdown(results: dict[str, Any]) -> str:
    head = (
        f"{results['machine']}, PyTorch {results['torch']}, Python {results['python']}; "
        f"matrix products measured at {results['matrix_tflops']:.3g} TFLOP/s. "
        "ms per pair, medians: encode = uint8 frames in host memory to tokens, decode = tokens to uint8 frames in host "
        "memory, plain = the plain rendering in float32, in the same run.\n\n"
    )
    columns = (
        "frame", "batch", "precision", "decode", "goal / stretch", "plain decode", "ratio", "encode", "plain encode",
        "ratio", "both", "TFLOP/s", "share", "memory GB", "PSNR dB",
    )  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cells(row, results)) + " |" for row in results["rows"]]
    return head + "\n".join(lines) + "\n" + _shares(results)


def _cells(row: dict[str, Any], results: dict[str, Any]) -> list[str]:
    goal = GOALS.get((row["size"], row["batch"])) if row["precision"] == "bf16" and "peak_gb" in row else None
    plain = row.get("plain")

    def ratio(half: str) -> list[str]:
        return [f"{plain[half]:.4g}", f"{plain[half] / row[half]:.1f} x"] if plain else ["-", "-"]

    return [
        row["size"], str(row["batch"]), row["precision"],
        f"{row['decode_ms']:.3g}", f"{goal[0]} / {goal[1]}" if goal else "-", *ratio("decode_ms"),
        f"{row['encode_ms']:.3g}", *ratio("encode_ms"), f"{row['pair_ms']:.3g}",
        f"{row['tflops']:.3g}", f"{row['tflops'] / results['matrix_tflops']:.0%}",
        f"{row['peak_gb']:.1f}" if "peak_gb" in row else "-",
        f"{row['psnr']:.1f}" if row["psnr"] < 190 else "-",
    ]  # fmt: skip


def _shares(results: dict[str, Any]) -> str:
    rows = [row for row in results["rows"] if row.get("kernels_ms")]
    if not rows:
        return ""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["kernels_ms"] if not kind.startswith("other:")))
    stages = list(rows[0]["stages_ms"])
    columns = ["frame", "batch", "precision", *stages, *kinds, "kernels / decode"]
    lines = ["", "What a decode is made of, ms per pair: by stage, and by kind of kernel (the profiler's).", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        times = [row["stages_ms"][stage] for stage in stages] + [row["kernels_ms"].get(kind, 0) for kind in kinds]
        busy = sum(row["kernels_ms"].get(kind, 0) for kind in kinds) / row["decode_ms"]
        cells = [row["size"], str(row["batch"]), row["precision"], *(f"{each:.3g}" for each in times), f"{busy:.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _picture(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in results["rows"] if row.get("plain")]
    labels = [f"{row['size']}, {row['batch']} per pass, {row['precision']}" for row in rows][::-1]
    figure, axis = plt.subplots(figsize=(9, 0.55 * len(rows) + 1.6), layout="constrained")
    for offset, (name, values, colour) in enumerate(
        (
            ("plain rendering, float32", [row["plain"]["decode_ms"] for row in rows], COLOURS[-1]),
            ("engine", [row["decode_ms"] for row in rows], COLOURS[0]),
        )
    ):
        places = [i + 0.2 - 0.4 * offset for i in range(len(rows))]
        bars = axis.barh(places, values[::-1], height=0.38, label=name, color=colour)
        axis.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    axis.set_yticks(range(len(rows)), labels)
    axis.set_xscale("log")
    axis.margins(x=0.12)
    axis.set_xlabel("ms per pair from tokens to frames (log scale)")
    axis.set_title(results["machine"])
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    exit_when_told_to()
    write_report(Path(sys.argv[1]))
