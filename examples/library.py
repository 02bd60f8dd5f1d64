"""Draw the frame between two pictures in this process: no server, no TorchServe.

    python -m examples.library first.png second.png between.png

Uses a GPU where there is one. For pictures of about 256x448 with the demo weights; `--checkpoint path/to/eden.pt` takes
the published ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eden import DitDecoder, Encoder


def between(first: np.ndarray, second: np.ndarray, checkpoint: Path, seed: int = 0) -> np.ndarray:
    """Two pictures [H, W, 3] uint8 of one size to the one halfway, of the same shape. Raises CheckpointError."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder, decoder = Encoder.load(checkpoint, device), DitDecoder.load(checkpoint, device)
    clip = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2)  # [K,3,H,W], here of K = 2 frames
    tokens = encoder.encode(clip)  # what would be handed over, were the decoder elsewhere
    (frames,) = decoder.interpolate([tokens], seeds=[seed], as_uint8=True)  # of each clip [K-1,3,H,W]
    drawn: np.ndarray = frames[0].permute(1, 2, 0).numpy()
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Read two pictures, write the one between."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "result"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("weights/demo"))
    args = parser.parse_args(arguments)
    first, second = (np.asarray(Image.open(path).convert("RGB")) for path in (args.first, args.second))
    Image.fromarray(between(first, second, args.checkpoint)).save(args.result)


if __name__ == "__main__":
    main()
