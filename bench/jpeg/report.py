"""The tables of what bench.jpeg measured.

python -m bench.jpeg.report bench/results/jpeg-h100     # again, from its .json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from media.signals import exit_when_told_to


def write_report(path: Path) -> None:
    """Write PATH.md from PATH.json."""
    results = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")


def markdown(results: dict[str, Any]) -> str:
    machine = results["machine"]
    gpu = f"{machine['gpus'][0]}; " if results["device"].startswith("cuda") else ""
    missing = f" nvJPEG was not measured: {results['unavailable']}." if "unavailable" in results else ""
    return "\n".join(
        [
            f"{gpu}{machine['cpu']}, {machine['cores']} cores, PyTorch {machine['torch']}, {machine['date']}. "
            f"libjpeg is Pillow's. Photographs resized ({', '.join(results['photographs'])}).{missing}",
            "",
            *_times(results),
            *_pairs(results),
            *_decoded(results),
            *_encoded(results),
        ]
    )


def _times(results: dict[str, Any]) -> list[str]:
    lines = [
        "## ms per picture",
        "",
        f"From files (quality {results['quality']}, 4:2:0) in host memory to pixels on {results['device']}, and back; "
        "copies included. Ratio: the faster of libjpeg's two to nvJPEG.",
        "",
        f"| frame | batch | work | libjpeg, 1 thread | libjpeg, {results['threads']} threads | nvJPEG | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    cases = {(row["size"], row["batch"], row["work"]) for row in results["times"] if row["work"] != "pair"}
    for size, batch, work in sorted(cases, key=lambda case: (_pixels(case[0]), case[1], case[2])):
        taken = {
            row["way"]: row["ms"]
            for row in results["times"]
            if (row["size"], row["batch"], row["work"]) == (size, batch, work)
        }
        lines.append(f"| {size} | {batch} | {work} | {_ms(taken, 'libjpeg')} | {_compared(taken)} |")
    return [*lines, ""]


def _pairs(results: dict[str, Any]) -> list[str]:
    lines = [
        "## ms of a lone pair's JPEG",
        "",
        "Two pictures decoded (by libjpeg: side by side), then one encoded.",
        "",
        "| frame | libjpeg | nvJPEG | ratio |",
        "|---|---|---|---|",
    ]
    rows = [row for row in results["times"] if row["work"] == "pair"]
    for size in dict.fromkeys(row["size"] for row in rows):
        taken = {row["way"]: row["ms"] for row in rows if row["size"] == size}
        lines.append(f"| {size} | {_compared(taken)} |")
    return [*lines, ""]


def _decoded(results: dict[str, Any]) -> list[str]:
    if not results["decoded"]:
        return []
    lines = [
        "## How far nvJPEG's pictures are from libjpeg's",
        "",
        f"{results['compared']}, files by Pillow. Difference in grey levels; PSNR in dB, the last two against what was "
        "coded.",
        "",
        "| quality | chroma | mean | greatest | PSNR | nvJPEG to source | libjpeg to source |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['quality']} | {row['subsampling']} | {row['mean']:.2f} | {row['max']} | {row['psnr']:.1f} "
        f"| {row['nvjpeg_psnr']:.2f} | {row['libjpeg_psnr']:.2f} |"
        for row in results["decoded"]
    ]
    return [*lines, ""]


def _encoded(results: dict[str, Any]) -> list[str]:
    lines = [
        "## What the encoders make of a quality",
        "",
        f"{results['compared']}, PSNR in dB against the source, decoded by libjpeg. For each quality: that one, and "
        "the highest at which an encoder takes no more bytes than Pillow's 4:2:0 does at it. Tables: the sums of the "
        "quantisation steps, luma and chroma.",
        "",
        "| asked | encoder | quality | bytes per picture | PSNR | tables |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['asked']} | {row['encoder']} | {row['quality']} | {row['bytes']:,.0f} | {row['psnr']:.2f} "
        f"| {', '.join(map(str, row['table_sums']))} |"
        for row in results["encoded"]
    ]
    return [*lines, ""]


def _compared(taken: dict[str, float]) -> str:
    """Cells of a row: libjpeg by number of threads, nvJPEG, and how many times as long the faster libjpeg takes."""
    ratio = "-"
    if "nvjpeg" in taken:
        fastest = min(ms for way, ms in taken.items() if way != "nvjpeg")
        ratio = f"{fastest / taken['nvjpeg']:.1f} x"
    return f"{_ms(taken, 'libjpeg, threads')} | {_ms(taken, 'nvjpeg')} | {ratio}"


def _ms(taken: dict[str, float], way: str) -> str:
    return f"{taken[way]:.3g}" if way in taken else "-"


def _pixels(size: str) -> int:
    height, width = size.split("x")
    return int(height) * int(width)


if __name__ == "__main__":
    exit_when_told_to()
    write_report(Path(sys.argv[1]))
