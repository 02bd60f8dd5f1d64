"""`python -m training`: train the demo weights, or go on with them."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from eden.checkpoint import CheckpointError
from training.ranks import Ranks
from training.run import Diverged, Run
from training.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a small EDEN for the demo.")
    parser.add_argument("--folder", type=Path, default=default.folder, help="where all files go (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--plan-samples", type=int, default=default.plan_samples, help="length of the run in triplets (%(default)s)"
    )
    parser.add_argument(
        "--until", type=float, default=1.0, metavar="SHARE", help="stop this piece there, 0 .. 1, to be resumed"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the folder's state file")
    parser.add_argument("--start-from", type=Path, metavar="EXPORT", help="go on from an export, its state file lost")
    parser.add_argument("--rate", type=float, default=default.rate, help="highest learning rate (%(default)s)")
    parser.add_argument("--batch", type=int, default=default.batch, help="full-size triplets a step (%(default)s)")
    parser.add_argument("--scenes", type=int, default=default.scenes, help="scenes drawn at once (%(default)s)")
    parser.add_argument("--uses", type=int, default=default.uses, help="of each scene (%(default)s)")
    parser.add_argument("--size", default="256x448", help="of full-size frames, HEIGHTxWIDTH (%(default)s)")
    parser.add_argument("--depths", type=int, nargs=2, metavar=("DIT", "DECODER"), help="blocks of each")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.until <= 1:
        parser.error(f"--until {chosen.until}: a share of the run, from 0 to 1")
    if chosen.resume and chosen.start_from:
        parser.error("either --resume or --start-from")
    height, width = map(int, chosen.size.split("x"))
    config = default.config
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
        config=config,
        plan_samples=chosen.plan_samples,
        rate=chosen.rate,
        size=(height, width),
        batch=chosen.batch,
        scenes=chosen.scenes,
        uses=chosen.uses,
    )
    ranks = Ranks.join(device)
    try:
        run = Run(settings, ranks)
        if chosen.resume:
            run.resume()
        elif chosen.start_from:
            run.start_from(chosen.start_from)
        run.train(chosen.until)
    except (CheckpointError, Diverged, OSError, ValueError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    finally:
        ranks.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
