"""Make a folder with a checkpoint of seeded random values: something to serve before there is something trained.

python weights/make_random.py weights/demo
python weights/make_random.py /tmp/eden-published --published     # the published size, 632 MB
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from eden.checkpoint import CONFIG, WEIGHTS
from eden.config import EdenConfig
from eden.random_weights import random_tensors

DEMO = EdenConfig(hidden_dim=192, num_heads=3, dit_depth=4, decoder_depth=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--published", action="store_true", help="the published size, float32 (else: the demo's)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    config, dtype = (EdenConfig(), torch.float32) if chosen.published else (DEMO, torch.float16)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    config.write(chosen.folder / CONFIG)
    save_file(random_tensors(config, chosen.seed, dtype), chosen.folder / WEIGHTS)


if __name__ == "__main__":
    main()
