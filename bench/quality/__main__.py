"""Measures the quality of the frames between on held-out scenes, per range of motion, beside simpler methods.

    python -m bench.quality                                     # weights/demo -> bench/results/quality-demo
    python -m bench.quality --checkpoint path/to/eden.pt --out bench/results/quality-published

The scenes are those of `training/`, with the exact frame in the middle; the demo weights were trained on none of their
pictures. Measures PSNR and SSIM of 8-bit frames, as means over scenes. Writes OUT.json, OUT.md and OUT.png, a contact
sheet.

LPIPS is not among the measures: the packages that compute it (lpips, piq, pyiqa, torchmetrics) carry none of the
networks that it needs, and download them when called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.quality.command import described, parser, print_report, write_results
from bench.quality.measures import measure
from bench.quality.methods import methods
from bench.quality.report import write_report
from bench.quality.scenes import SIZE, digest, held_out
from bench.quality.sheet import Row, write_sheet
from media.signals import exit_when_told_to

SHOWN = {"still": 1, "0-4": 1, "4-16": 2, "16-32": 3}
"""Scenes of each range on the contact sheet: the first ones, not the best."""


def run(
    checkpoint: Path,
    out: Path,
    count: int,
    seed: int,
    device: str = "cpu",
    precision: str = "fp32",
    size: tuple[int, int] = SIZE,
) -> dict[str, Any]:
    """Measure, write OUT.json, OUT.md and OUT.png, and return what the JSON holds. Raises CheckpointError."""
    ways = methods(checkpoint, device, precision)
    scenes = held_out(seed, count, size)
    results: dict[str, Any] = {
        **described(checkpoint, device, precision),
        "size": "x".join(map(str, size)),
        "seed": seed,
        "scenes": count,
        "frames_sha256": digest(scenes),
        "ranges": {},
    }
    rows = []
    for name, group in scenes.items():
        figures, made = measure(group, ways)
        print(name, *(f"{way} {figure['psnr']:.2f} dB" for way, figure in figures.items()), sep="  ")
        results["ranges"][name] = {"displacement": [scene.displacement for scene in group], "methods": figures}
        for scene, frames in list(zip(group, made, strict=True))[: SHOWN[name]]:
            rows.append(Row(f"{scene.displacement:.0f} px", scene.first, scene.last, scene.middle, frames))
    write_results(results, out, write_report)
    write_sheet(rows, out.with_suffix(".png"))
    return results


def main() -> int:
    options = parser(str(__doc__), Path("bench/results/quality-demo"))
    options.add_argument(
        "--scenes", type=int, default=32, help="scenes per range of displacements (default: %(default)s)"
    )
    options.add_argument("--seed", type=int, default=2503, help="seed of the scenes (default: %(default)s)")
    chosen = options.parse_args()
    return print_report(
        lambda: run(chosen.checkpoint, chosen.out, chosen.scenes, chosen.seed, chosen.device, chosen.precision),
        chosen.out,
    )


if __name__ == "__main__":
    exit_when_told_to()
    sys.exit(main())
