"""Measures the quality of the frames between on real film: all but every second or fourth frame are drawn anew.

    make footage                                                  # once: film and others' weights, into run/footage
    python -m bench.real_film                                     # weights/demo -> bench/results/real-film-demo
    python -m bench.real_film --checkpoint run/training/export --out run/real-film

Measures PSNR and SSIM of 8-bit frames per kind of film and gap (g1: between the frames before and after; g2: between
those two away), blockiness per range of motion, and CPU seconds per pair. footage.py names the films' sources and
licences. Writes OUT.json, OUT.md and OUT.jpg, a contact sheet.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.quality.command import described, parser, print_report, write_results
from bench.quality.measures import measure
from bench.quality.methods import Method, methods
from bench.quality.scenes import Scene, digest
from bench.quality.sheet import Row, write_sheet
from bench.real_film.footage import CLIPS, FOLDER, GAPS, Clip, triplets
from bench.real_film.others import others
from bench.real_film.report import write_report
from eden.config import EdenConfig
from media import Frame
from media.signals import exit_when_told_to
from training.judging import blockiness

CLASSES = {"0-4": (0.0, 4.0), "4-16": (4.0, 16.0), "16-32": (16.0, 32.0), "beyond": (32.0, 1e9)}
"""Pixels that the fastest twentieth of a frame moves between the outer two."""
LEFT_OUT = ("repeat", "minterpolate, blend")
"""Methods that are nearly the same as averaging."""
PAIRS_TIMED = 3
SHOWN = 2
"""Triplets per clip on the sheet: of those two frames apart, the ones in which most moves."""


def run(
    checkpoint: Path,
    footage: Path,
    out: Path,
    count: int,
    device: str = "cpu",
    precision: str = "fp32",
    show_all: bool = False,
    clips: tuple[Clip, ...] = CLIPS,
) -> dict[str, Any]:
    """Measure, write OUT.json, OUT.md and OUT.jpg, and return what the JSON holds.

    Raises CheckpointError, and FileNotFoundError where there is no film.
    """
    ours = methods(checkpoint, device, precision)
    eden = ours.pop("EDEN")
    ways: dict[str, Method] = {name: way for name, way in ours.items() if name not in LEFT_OUT}
    ways |= {**others(footage), "EDEN": eden}
    if missing := [clip.path for clip in clips if not (footage / clip.path).exists()]:
        raise FileNotFoundError(f"{footage / missing[0]} is missing: make footage")
    patch = (
        EdenConfig.from_file(checkpoint / "config.json").patch_size if checkpoint.is_dir() else EdenConfig().patch_size
    )
    groups: dict[str, list[dict[str, Any]]] = {}
    shown: list[Row] = []
    frames: dict[str, list[Scene]] = {}
    seconds: dict[str, float] = {}
    for clip in clips:
        for gap, apart in GAPS.items():
            scenes = triplets(footage / clip.path, apart, clip.size, clip.share(count))
            figures, made = measure(scenes, ways)
            told: dict[str, Any] = {"clip": clip.name, "size": f"{clip.size[0]}x{clip.size[1]}", "methods": figures}
            told["displacement"] = [scene.displacement for scene in scenes]
            told["blockiness"] = blocks(scenes, made, patch)
            groups.setdefault(f"{clip.kind} {gap}", []).append(told)
            seconds = seconds or cost(ways, scenes[0])
            frames[f"{clip.name} {clip.size} {gap}"] = scenes
            print(
                clip.name, gap, *(f"{way} {each['psnr']:.2f} dB" for way, each in figures.items()), sep="  ", flush=True
            )
            if apart == max(GAPS.values()) and (clip.shown or (show_all and clip.kind != "large")):
                most = sorted(range(len(scenes)), key=lambda number: -scenes[number].displacement)[:SHOWN]
                for number in most:
                    scene = scenes[number]
                    row = Row(f"{scene.displacement:.0f} px", scene.first, scene.last, scene.middle, made[number])
                    shown.append(row)
    results: dict[str, Any] = {
        **described(checkpoint, device, precision),
        "triplets": sum(len(each["displacement"]) for group in groups.values() for each in group),
        "frames_sha256": digest(frames),
        "groups": {name: summary(told) for name, told in groups.items()},
        "cpu_seconds": seconds,
        "blockiness": by_class([each for told in groups.values() for each in told]),
        "clips": groups,
    }
    write_results(results, out, write_report)
    write_sheet(shown, out.with_suffix(".jpg"))
    return results


def blocks(scenes: list[Scene], made: list[dict[str, Frame]], patch: int) -> list[dict[str, float]]:
    """The blockiness of the true middle and of each method's, per triplet."""

    def of(frame: Frame) -> float:
        return blockiness(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255, patch)

    return [
        {"truth": of(scene.middle), **{name: of(frame) for name, frame in frames.items()}}
        for scene, frames in zip(scenes, made, strict=True)
    ]


def summary(told: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each way's means over all triplets of a kind of film."""
    names = list(told[0]["methods"])
    means = {}
    for name in names:
        rows = [each["methods"][name] for each in told]
        counts = [len(row["psnr_of_each"]) for row in rows]

        def mean(key: str, rows: list[Mapping[str, float]] = rows, counts: list[int] = counts) -> float:
            return sum(row[key] * count for row, count in zip(rows, counts, strict=True)) / sum(counts)

        means[name] = {key: mean(key) for key in ("psnr", "ssim")}
    return means


def cost(ways: Mapping[str, Method], scene: Scene) -> dict[str, float]:
    """Seconds of processor time that each way takes for a pair, on one thread.

    More threads would wait for each other, which counts as processor time, the more so beside other work.
    """
    seconds = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, way in ways.items():
        begun = time.process_time()
        for _ in range(PAIRS_TIMED):
            way(scene.first, scene.last)
        seconds[name] = (time.process_time() - begun) / PAIRS_TIMED
    torch.set_num_threads(threads)
    return seconds


def by_class(told: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean blockiness of each way, and of the truth, by displacement; `triplets` says of how many."""
    classes = {}
    for name, (low, high) in CLASSES.items():
        rows = [
            row
            for each in told
            for moved, row in zip(each["displacement"], each["blockiness"], strict=True)
            if low <= moved < high
        ]
        if rows:
            means = {way: statistics.fmean(row[way] for row in rows) for way in rows[0]}
            classes[name] = {"triplets": len(rows), **means}
    return classes


def main() -> int:
    options = parser(str(__doc__), Path("bench/results/real-film-demo"))
    add = options.add_argument
    add("--footage", type=Path, default=FOLDER, help="folder of the films (default: %(default)s)")
    add(
        "--triplets",
        type=int,
        default=20,
        help="triplets of frames per clip and gap, a quarter of that for large clips (default: %(default)s)",
    )
    add("--show-all", action="store_true", help="also show film on the sheet that may not be published")
    chosen = options.parse_args()
    device = (chosen.device, chosen.precision)
    return print_report(
        lambda: run(chosen.checkpoint, chosen.footage, chosen.out, chosen.triplets, *device, chosen.show_all),
        chosen.out,
    )


if __name__ == "__main__":
    exit_when_told_to()
    sys.exit(main())
