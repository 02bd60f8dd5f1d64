"""Make a folder with a checkpoint of seeded random values, whose frames are noise: for measurements.

python weights/make_random.py run/small
python weights/make_random.py run/published --published     # the published size, 632 MB
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from eden.config import EdenConfig
from eden.random_weights import SMALL, write_random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--published", action="store_true", help="the published size, float32 (else: 10 MB, float16)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.published:
        write_random(chosen.folder, EdenConfig(), chosen.seed)
    else:
        write_random(chosen.folder, SMALL, chosen.seed, torch.float16)


if __name__ == "__main__":
    main()
