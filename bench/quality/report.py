"""The table of what bench.quality measured.

python -m bench.quality.report bench/results/quality-demo     # again, from its .json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from media.signals import exit_when_told_to

EXACT = 100.0
"""The PSNR in dB that counts for equal frames, so that means stay finite."""


def write_report(path: Path) -> None:
    """Write PATH.md from PATH.json."""
    results = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(markdown(results, path.with_suffix(".png").name), encoding="utf-8")


def markdown(results: dict[str, Any], sheet: str) -> str:
    where = results["machine"]["gpus"][0] if results["device"].startswith("cuda") else results["machine"]["cpu"]
    ranges = results["ranges"]
    names = list(next(iter(ranges.values()))["methods"])
    lines = [
        f"Held-out scenes of {results['size']}, {results['scenes']} for each range, seed {results['seed']} "
        f"(SHA-256 of the frames {results['frames_sha256'][:12]}…); weights {results['checkpoint']} "
        f"(SHA-256 {results['weights_sha256'][:12]}…), {results['precision']}, {where}, "
        f"PyTorch {results['machine']['torch']}, {results['machine']['date']}. "
        "PSNR in dB / SSIM, means over scenes, by how many pixels the fastest thing in sight moves from first to last.",
        "",
        "| | " + " | ".join(f"{name} px" if name[0].isdigit() else name for name in ranges) + " |",
        "|---|" + "---|" * len(ranges),
    ]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_cell(each["methods"][name]) for each in ranges.values()) + " |")
    for other in ("average", "minterpolate, blend", "minterpolate, mci"):
        margins = [_margin(each["methods"], other) for each in ranges.values()]
        lines.append(f"| EDEN above {other} | " + " | ".join(margins) + " |")
    lines += [
        "",
        "minterpolate works in 8-bit YUV 4:4:4, so even a still comes out at no more than its figure above. "
        "LPIPS is left out: no package carries the networks that it needs.",
        "",
        f"![rows: scenes; columns: frames and what each way makes of them]({sheet})",
        "",
    ]
    return "\n".join(lines)


def _cell(figures: dict[str, Any]) -> str:
    ratio = "exact" if figures["psnr"] == EXACT else f"{figures['psnr']:.2f}"
    return f"{ratio} / {figures['ssim']:.3f}"


def _margin(figures: dict[str, Any], other: str) -> str:
    ours, theirs = figures["EDEN"]["psnr"], figures[other]["psnr"]
    return "-" if theirs == EXACT else f"{ours - theirs:+.2f} dB"


if __name__ == "__main__":
    exit_when_told_to()
    write_report(Path(sys.argv[1]))
