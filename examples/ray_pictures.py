"""Draw the pictures between many on a Ray cluster: an actor per GPU, or per node, holds the model.

    make install-cluster && .venv/bin/ray start --head
    python -m examples.ray_pictures between/ 1.png 2.png 3.png

Every node needs the checkpoint under the same path, this folder in PYTHONPATH where `ray start` runs, and what
requirements.txt names. Whole films, with sound, resumed and joined, are a command: docs/ray.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import ray
import torch
from PIL import Image
from ray.util import ActorPool

from eden import DitDecoder, Encoder


class Drawer:
    """Both halves of the model, in a process of a node."""

    def __init__(self, checkpoint: str) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder, self.decoder = Encoder.load(checkpoint, device), DitDecoder.load(checkpoint, device)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Two pictures [H, W, 3] uint8 to the one halfway."""
        clip = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2)
        (frames,) = self.decoder.interpolate([self.encoder.encode(clip)], seeds=[0], as_uint8=True)
        drawn: np.ndarray = frames[0].permute(1, 2, 0).numpy()
        return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Write RESULTS/0001.png, 0002.png, ... in order, whoever drew them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a folder")
    parser.add_argument("pictures", type=Path, nargs="+", help="of one size")
    parser.add_argument("--address", default="auto", help="of the cluster's head, host:port")
    parser.add_argument("--checkpoint", type=Path, default=Path("weights/demo"))
    args = parser.parse_args(arguments)
    args.results.mkdir(parents=True, exist_ok=True)
    ray.init(args.address)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        needs = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        nodes = sum(node["Alive"] for node in ray.nodes())
        make = ray.remote(**needs, scheduling_strategy="SPREAD")(Drawer)
        drawers = ActorPool([make.remote(str(args.checkpoint.absolute())) for _ in range(gpus or nodes)])
        pictures = [np.asarray(Image.open(path).convert("RGB")) for path in args.pictures]
        drawn = drawers.map(lambda drawer, pair: drawer.between.remote(*pair), pairwise(pictures))
        for number, frame in enumerate(drawn, start=1):
            Image.fromarray(frame).save(args.results / f"{number:04}.png")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
