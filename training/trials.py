"""Short trials of equal length that differ in one setting, to choose the settings of a long run.

    python -m training.trials all-as-it-is loss-arithmetic --steps 3000     # --list names them
    CUDA_VISIBLE_DEVICES=1 python -m training.trials network-2-7 --steps 3000 --folder run/trials

Each has a schedule of its own length and the same scenes in the same order, and writes FOLDER/NAME.json: its progress,
and PSNR and blockiness on held-out scenes. Its weights are in FOLDER/NAME/export.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.run import Run
from training.settings import Range, Settings

NONE = Range(0.0, 0.0, 0.0)
TRIALS: dict[str, Callable[[Settings], Settings]] = {
    "all-as-it-is": lambda now: now,
    "loss-arithmetic": lambda now: replace(now, loss=replace(now.loss, geometric=False)),
    "loss-without-pyramid": lambda now: replace(now, loss=replace(now.loss, pyramid=0.0)),
    "scenes-as-drawn": lambda now: replace(now, sharpening=NONE, grain=NONE),
    "scenes-without-grain": lambda now: replace(now, grain=NONE),
    "weights-without-decay": lambda now: replace(now, decay=0.0),
    "bfloat16": lambda now: replace(now, arithmetic=torch.bfloat16),
    "float32": lambda now: replace(now, arithmetic=torch.float32),
    "network-2-7": lambda now: replace(now, config=replace(now.config, dit_depth=2, decoder_depth=7, mlp_ratio=1.5)),
    "rate-doubled": lambda now: replace(now, rate=2 * now.rate),
    "rate-halved": lambda now: replace(now, rate=now.rate / 2),
    "batch-doubled": lambda now: replace(now, batch=2 * now.batch),
}
"""The settings that each trial changes."""


def run_trial(name: str, now: Settings, deadline: float = math.inf) -> dict[str, Any]:
    """Run a trial in a subfolder of `now.folder`, until its end or until time.monotonic() reaches `deadline`."""
    settings = TRIALS[name](replace(now, folder=now.folder / name))
    run = Run(settings)
    begun = time.monotonic()
    figures = run.train(deadline=deadline)
    told = {
        "trial": name,
        "steps": run.progress.step,
        "planned_steps": settings.plan_steps,
        "triplets": run.progress.samples,
        "seconds": time.monotonic() - begun,
        "held_out": figures,
    }
    (now.folder / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


def main(arguments: list[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", choices=[*TRIALS, []], metavar="TRIAL")
    parser.add_argument("--list", action="store_true", help="name the trials")
    parser.add_argument("--steps", type=int, default=3000, help="steps per trial (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="minutes after which a trial ends unfinished (default: never)"
    )
    folder = Path("run/trials")
    parser.add_argument("--folder", type=Path, default=folder, help="folder of the results (default: %(default)s)")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, help="cuda or cpu (default: cuda, if there is a GPU)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of weights and scenes (default: %(default)s)")
    parser.add_argument("--no-graphs", action="store_true", help="run steps without recording them as CUDA graphs")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print(*TRIALS, sep="\n")
    now = replace(
        default,
        folder=chosen.folder,
        device=chosen.device,
        seed=chosen.seed,
        recording=not chosen.no_graphs,
        plan_steps=chosen.steps,
        judgements=1,
        save_seconds=math.inf,
    )
    for name in chosen.trials:
        print(name, run_trial(name, now, time.monotonic() + 60 * chosen.minutes)["held_out"], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
