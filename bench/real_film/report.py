"""The tables of what bench.real_film measured.

python -m bench.real_film.report bench/results/real-film-demo     # again, from its .json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from media.signals import exit_when_told_to

CREDIT = "(Big Buck Bunny: (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0; the towers: cityCC0, CC0.)"
"""Credit of the films that the sheet shows."""


def write_report(path: Path) -> None:
    """Write PATH.md from PATH.json."""
    results = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(markdown(results, path.with_suffix(".jpg").name), encoding="utf-8")


def markdown(results: dict[str, Any], sheet: str) -> str:
    groups, classes = results["groups"], results["blockiness"]
    where = results["machine"]["gpus"][0] if results["device"].startswith("cuda") else results["machine"]["cpu"]
    ways = list(next(iter(groups.values())))
    clips: dict[str, list[str]] = {}
    for group, told in results["clips"].items():
        clips.setdefault(group.split()[0], [f"{each['clip']} {each['size']}" for each in told])
    lines = [
        f"{results['triplets']} triplets of real film "
        f"({'; '.join(f'{kind}: ' + ', '.join(names) for kind, names in clips.items())}; "
        f"SHA-256 of the frames {results['frames_sha256'][:12]}…); weights {results['checkpoint']} "
        f"(SHA-256 {results['weights_sha256'][:12]}…), {results['precision']}, {where}, "
        f"PyTorch {results['machine']['torch']}, {results['machine']['date']}. PSNR in dB / SSIM, means over triplets; "
        "g1: from the frames before and after, g2: from those two away. Seconds are processor time on one thread, for "
        "a pair of the first clip.",
        "",
        "| | " + " | ".join(groups) + " | CPU s per pair |",
        "|---|" + "---|" * (len(groups) + 1),
    ]
    for way in ways:
        cells = [f"{group[way]['psnr']:.2f} / {group[way]['ssim']:.3f}" for group in groups.values()]
        lines.append(f"| {way} | " + " | ".join(cells) + f" | {results['cpu_seconds'][way]:.2f} |")
    for other in ways[:-1]:
        margins = [f"{group['EDEN']['psnr'] - group[other]['psnr']:+.2f} dB" for group in groups.values()]
        lines.append(f"| EDEN above {other} | " + " | ".join(margins) + " | |")
    lines += [
        "",
        "Blockiness: the mean difference of neighbouring pixels across the edges of patches over that elsewhere, by "
        "how many pixels the fastest twentieth of a frame moves between the outer two.",
        "",
        "| | " + " | ".join(f"{name} px ({each['triplets']})" for name, each in classes.items()) + " |",
        "|---|" + "---|" * len(classes),
    ]
    for way in ("truth", *ways):
        lines.append(f"| {way} | " + " | ".join(f"{each[way]:.3f}" for each in classes.values()) + " |")
    lines += [
        "",
        f"![rows: triplets two frames away; columns: frames and what each way makes of them]({sheet})",
        "",
        CREDIT,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    exit_when_told_to()
    write_report(Path(sys.argv[1]))
