"""Reports of a run: printed lines, log.jsonl, the loss curve, sample sheets, the model card."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from eden.checkpoint import expected_shapes
from training.progress import Progress
from training.settings import Settings

EXPORT = "export"
CARD = Path(__file__).with_name("card.md")


class Log:
    """log.jsonl in a run's folder, with a line per report or judgement, and the pictures made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "log.jsonl"

    def trained(self, progress: Progress, last: Progress, position: float, loss: float, norm: float) -> None:
        """Report the mean loss and gradient norm since the previous report, which was at `last`."""
        speed = (progress.samples - last.samples) / (progress.seconds - last.seconds)
        memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        figures = {"position": position, "loss": loss, "norm": norm, "samples_per_s": speed, "gpu_gib": memory}
        self._write({**asdict(progress), **figures})
        print(
            f"{progress.seconds / 60:6.2f} min, {position:6.1%}: step {progress.step}, {progress.samples} samples, "
            f"{speed:.0f} per second, loss {loss:.5f}, gradients {norm:.3f}",
            flush=True,
        )

    def judged(self, progress: Progress, figures: dict[str, dict[str, float]], sheet: Tensor) -> None:
        """Report the figures on held-out scenes, and the sheet [rows,5,3,H,W] that shows some of them."""
        self._write({**asdict(progress), "psnr": figures})
        save_sheet(sheet, self.folder / f"sheet-{progress.step:06d}.png")
        self._curve()
        said = ", ".join(
            f"{name} {each['eden']:.2f} dB (averaging {each['average']:.2f})" for name, each in figures.items()
        )
        print(f"{progress.seconds / 60:6.2f} min, held out: {said}", flush=True)

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _curve(self) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:  # optional on a machine that only trains: the figures are in the log
            return
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        losses = [line for line in lines if "loss" in line]
        left.plot([line["step"] for line in losses], [line["loss"] for line in losses])
        left.set(xlabel="steps", ylabel="training loss", yscale="log")
        judged = [line for line in lines if "psnr" in line]
        for name in judged[-1]["psnr"]:
            above = [line["psnr"][name]["eden"] - line["psnr"][name]["average"] for line in judged]
            if judged[-1]["psnr"][name]["average"] < 90:  # averaging two equal frames is exact
                right.plot([line["step"] for line in judged], above, marker=".", label=name)
        right.set(xlabel="steps", ylabel="held out: PSNR above averaging, dB")
        right.legend()
        figure.savefig(self.folder / "curve.png", dpi=100)


def save_sheet(sheet: Tensor, path: Path) -> None:
    """Write pictures [rows,columns,3,H,W] in [0,1] as one PNG, side by side."""
    rows, columns, _, height, width = sheet.shape
    pixels = sheet.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    Image.fromarray(pixels.mul(255).round().to(torch.uint8).cpu().numpy()).save(path)


def write_card(
    settings: Settings, progress: Progress, figures: dict[str, dict[str, float]], size: int, processes: int
) -> None:
    """Write the model card beside the export, with the run's own figures."""
    config = settings.config
    shapes = {**expected_shapes(config, "encoder"), **expected_shapes(config, "decoder")}
    rows = (
        f"| {name} | {each['eden']:.2f} | {each['average']:.2f} | {each['blockiness']:.2f} |"
        for name, each in figures.items()
    )
    said = {
        "parameters": f"{sum(torch.Size(shape).numel() for shape in shapes.values()) / 1e6:.1f} M",
        "megabytes": f"{size / 1e6:.1f}",
        "patch": config.patch_size,
        "dim": config.hidden_dim,
        "dit": config.dit_depth,
        "decoder": config.decoder_depth,
        "samples": f"{progress.samples:,}",
        "steps": f"{progress.step:,}",
        "minutes": f"{progress.seconds / 60:.1f}",
        "machine": f"{processes} {torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()}",
        "torch": torch.__version__,
        "seed": settings.seed,
        "height": settings.size[0],
        "width": settings.size[1],
        "furthest": f"{settings.furthest:g}",
        "turning": f"{math.degrees(settings.turning):.0f}",
        "judged": settings.judged,
        "figures": "\n".join(rows),
    }
    card = Template(CARD.read_text(encoding="utf-8")).substitute(said)
    (settings.folder / EXPORT / "README.md").write_text(card, encoding="utf-8")
