"""`python -m training`: train the demo weights, or go on with them."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from eden.checkpoint import CheckpointError
from training.measuring import measure
from training.ranks import Ranks
from training.run import Diverged, Run
from training.settings import Settings

ARITHMETIC = ("float16", "bfloat16", "float32")


def main(arguments: list[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a small EDEN for the demo.")
    parser.add_argument(
        "--folder", type=Path, default=default.folder, help="folder of all files (default: %(default)s)"
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, help="cuda or cpu (default: cuda, if there is a GPU)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of weights and scenes (default: %(default)s)")
    parser.add_argument("--no-graphs", action="store_true", help="run steps without recording them as CUDA graphs")
    parser.add_argument(
        "--plan-steps", type=int, default=default.plan_steps, help="steps of the whole run (default: %(default)s)"
    )
    parser.add_argument(
        "--until", type=float, default=1.0, metavar="SHARE", help="end this piece at this fraction (0 to 1) of the run"
    )
    parser.add_argument(
        "--piece-minutes", type=float, default=math.inf, help="end this piece after so many minutes (default: never)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the state in the folder")
    parser.add_argument("--half-state", action="store_true", help="save the state in half precision: half the size")
    parser.add_argument(
        "--start-from", type=Path, metavar="EXPORT", help="continue from an export, if the state is lost"
    )
    parser.add_argument("--measure-steps", type=int, metavar="N", help="time N steps of each kind, and train nothing")
    parser.add_argument("--rate", type=float, default=default.rate, help="highest learning rate (default: %(default)s)")
    parser.add_argument(
        "--arithmetic",
        choices=ARITHMETIC,
        default=str(default.arithmetic).removeprefix("torch."),
        help="type in which a GPU computes (default: %(default)s)",
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=default.memory,
        help="decay of the weights' moving average per step (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=default.batch, help="full-size triplets per step (default: %(default)s)"
    )
    parser.add_argument("--scenes", type=int, default=default.scenes, help="scenes per set (default: %(default)s)")
    parser.add_argument(
        "--uses", type=int, default=default.uses, help="times that each scene is trained on (default: %(default)s)"
    )
    parser.add_argument(
        "--size", default="256x448", metavar="HxW", help="size of full-size frames in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--depths", type=int, nargs=2, metavar=("DIT", "DECODER"), help="blocks of DiT and decoder (default: 3 5)"
    )
    parser.add_argument(
        "--mlp-ratio",
        type=float,
        default=default.config.mlp_ratio,
        help="hidden by outer channels of an MLP (default: %(default)s)",
    )
    begun = time.monotonic()
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.until <= 1:
        parser.error(f"--until {chosen.until}: a fraction of the run, from 0 to 1")
    if chosen.resume and chosen.start_from:
        parser.error("either --resume or --start-from")
    if chosen.measure_steps is not None and chosen.measure_steps < 1:
        parser.error(f"--measure-steps {chosen.measure_steps}: at least one")
    height, width = map(int, chosen.size.split("x"))
    config = replace(default.config, mlp_ratio=chosen.mlp_ratio)
    if chosen.depths:
        config = replace(config, dit_depth=chosen.depths[0], decoder_depth=chosen.depths[1])
    device = chosen.device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    settings = replace(
        default,
        folder=chosen.folder,
        device=device,
        seed=chosen.seed,
        recording=not chosen.no_graphs,
        config=config,
        plan_steps=chosen.plan_steps,
        rate=chosen.rate,
        arithmetic=getattr(torch, chosen.arithmetic),
        memory=chosen.memory,
        half_state=chosen.half_state,
        size=(height, width),
        batch=chosen.batch,
        scenes=chosen.scenes,
        uses=chosen.uses,
    )
    ranks = Ranks.join(device)
    try:
        if chosen.measure_steps:
            print(json.dumps(measure(settings, chosen.measure_steps), indent=1))
            return 0
        run = Run(settings, ranks)
        if chosen.resume:
            run.resume()
        elif chosen.start_from:
            run.start_from(chosen.start_from)
        run.train(chosen.until, begun + 60 * chosen.piece_minutes)
    except (CheckpointError, Diverged, OSError, ValueError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    finally:
        ranks.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
