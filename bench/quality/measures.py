"""How near frames are to the true ones: PSNR and SSIM, of one frame and of every method on every scene."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.quality.methods import Method
from bench.quality.report import EXACT
from bench.quality.scenes import Scene
from media import Frame


def psnr(frame: Frame, truth: Frame) -> float:
    """PSNR in dB, at most EXACT."""
    error = float(np.square(frame.astype(np.float64) - truth).mean())
    return min(EXACT, 10 * math.log10(255**2 / error)) if error else EXACT


def ssim(frame: Frame, truth: Frame) -> float:
    """Structural similarity as its authors define it: Gaussian windows of deviation 1.5, colour by colour."""
    from skimage.metrics import structural_similarity  # here, since it takes half a second to import

    similarity = structural_similarity(
        frame, truth, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(similarity)


def measure(scenes: list[Scene], ways: Mapping[str, Method]) -> tuple[dict[str, Any], list[dict[str, Frame]]]:
    """Measure every way. Returns the figures of each, and per scene the frames that each has made."""
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
