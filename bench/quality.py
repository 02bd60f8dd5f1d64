"""How good the frames between are: held-out scenes, by how far things move, against simpler ways.

    python -m bench.quality                                     # weights/demo -> bench/results/quality-demo
    python -m bench.quality --checkpoint path/to/eden.pt --out bench/results/quality-published

Scenes of `training/`, none of whose pictures the demo weights were trained on, with their exact middles. PSNR and SSIM
of 8-bit frames, means over scenes. Writes OUT.json, OUT.md and OUT.png, a contact sheet.

LPIPS is not among the measures: the packages that compute it (lpips, piq, pyiqa, torchmetrics) carry none of the
networks that it needs, and download them when called.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity

from bench import machine
from bench.quality_methods import Method, methods
from bench.quality_report import EXACT, write_report
from bench.quality_sheet import Row, write_sheet
from eden.checkpoint import WEIGHTS, CheckpointError
from media import Frame
from media.signals import exit_when_told_to
from training.scenes import Scenes

DISPLACEMENTS = {"still": (0.0, 0.0), "0-4": (0.0, 4.0), "4-16": (4.0, 16.0), "16-32": (16.0, 32.0)}
"""Pixels between the first and the last frame, of the fastest thing in sight."""

SHOWN = {"still": 1, "0-4": 1, "4-16": 2, "16-32": 3}
"""How many scenes of each the contact sheet shows: the first ones, not the best."""

SIZE = (256, 448)


@dataclass(frozen=True)
class Scene:
    """Three frames uint8 [H, W, 3], and pixels between the outer two."""

    first: Frame
    middle: Frame
    last: Frame
    displacement: float


def held_out(seed: int, count: int, size: tuple[int, int] = SIZE) -> dict[str, list[Scene]]:
    """`count` scenes for each range of displacements. Drawn on the CPU, so that the model's device changes nothing."""
    source = Scenes("cpu", seed, held_out=True)
    scenes = {}
    for name, displacement in DISPLACEMENTS.items():
        drawn = source.draw(count, *size, displacement=displacement)
        frames = [
            (batch * 255).round().byte().permute(0, 2, 3, 1).numpy()
            for batch in (drawn.first, drawn.middle, drawn.last)
        ]
        scenes[name] = [Scene(*each) for each in zip(*frames, drawn.displacement.tolist(), strict=True)]
    return scenes


def digest(scenes: Mapping[str, list[Scene]]) -> str:
    """SHA-256 of all the frames' pixels, in their order."""
    whole = hashlib.sha256()
    for scene in (scene for group in scenes.values() for scene in group):
        for frame in (scene.first, scene.middle, scene.last):
            whole.update(np.ascontiguousarray(frame).data)
    return whole.hexdigest()


def psnr(frame: Frame, truth: Frame) -> float:
    """dB, at most EXACT."""
    error = float(np.square(frame.astype(np.float64) - truth).mean())
    return min(EXACT, 10 * math.log10(255**2 / error)) if error else EXACT


def ssim(frame: Frame, truth: Frame) -> float:
    """Structural similarity as its authors define it: Gaussian windows of deviation 1.5, colour by colour."""
    similarity = structural_similarity(
        frame, truth, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(similarity)


def measure(scenes: list[Scene], ways: Mapping[str, Method]) -> tuple[dict[str, Any], list[dict[str, Frame]]]:
    """(figures of every way, the frames that each made of each scene)."""
    figures: dict[str, Any] = {}
    made: list[dict[str, Frame]] = [{} for _ in scenes]
    for name, way in ways.items():
        start = time.perf_counter()
        for scene, frames in zip(scenes, made, strict=True):
            frames[name] = way(scene.first, scene.last)
        seconds = (time.perf_counter() - start) / len(scenes)
        ratios = [psnr(frames[name], scene.middle) for scene, frames in zip(scenes, made, strict=True)]
        similarities = [ssim(frames[name], scene.middle) for scene, frames in zip(scenes, made, strict=True)]
        figures[name] = {
            "psnr": statistics.fmean(ratios),
            "ssim": statistics.fmean(similarities),
            "seconds": seconds,
            "psnr_of_each": ratios,
        }
    return figures, made


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
    weights = checkpoint / WEIGHTS if checkpoint.is_dir() else checkpoint
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "checkpoint": str(checkpoint),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "device": device,
        "precision": precision,
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
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_report(out)
    write_sheet(rows, out.with_suffix(".png"))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("weights/demo"))
    parser.add_argument("--scenes", type=int, default=32, help="for each range of displacements (default 32)")
    parser.add_argument("--seed", type=int, default=2503)
    parser.add_argument("--out", type=Path, default=Path("bench/results/quality-demo"), help="without a suffix")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    chosen = parser.parse_args()
    try:
        run(chosen.checkpoint, chosen.out, chosen.scenes, chosen.seed, chosen.device, chosen.precision)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    print(chosen.out.with_suffix(".md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    exit_when_told_to()
    sys.exit(main())
