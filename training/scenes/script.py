"""A scene and its motion as numbers. `author` writes them, `drawing` draws them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

LAYERS = 6
"""A background, and up to five objects in front of it, the nearest last."""
WARP = (5, 7)
"""Knots of a non-rigid warp, down and across the frame."""


@dataclass(frozen=True)
class Script:
    """Tensors over items B and layers L. Points are pixels from the frame's middle, x before y, y downwards.

    A point p of a layer, counted from the layer's own middle at t = 0, is at time t, from -1/2 to 1/2, at
    `centre + t velocity + A(t) p + t warp`, where A(t) = e^(t zoom) · rotation by t angle · shear by t shear.
    """

    texture: Tensor
    """[B, L] picture in the texture atlas. A point p shows it at `view @ p + origin`, from 0 to 1 between its edges."""
    view: Tensor
    origin: Tensor
    colour: Tensor
    """[B, L, 3, 3], with `tint` [B, L, 3]: the colour shown is `colour @ rgb + tint`."""
    tint: Tensor
    outline: Tensor
    """[B, L] picture in the outline atlas of signed distances. A point p reads it at `frame @ p + 1/2`."""
    frame: Tensor
    edge: Tensor
    """[B, L] pixels per unit of distance for an edge one pixel wide; a smaller value makes it softer."""
    opacity: Tensor
    """[B, L]; 0: the scene has no such layer."""
    centre: Tensor
    velocity: Tensor
    angle: Tensor
    zoom: Tensor
    shear: Tensor
    warp: Tensor
    """[B, L, 2, *WARP] pixels, at knots from corner to corner of the frame."""
    gain: Tensor
    """[B, L], equal in all layers: brightness at time t is e^(t gain) times that of the middle."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Script:
        """The script with `change` applied to every tensor."""
        return Script(**{field.name: change(getattr(self, field.name)) for field in fields(self)})

    def faster(self, factor: Tensor) -> Script:
        """The same scenes with all motion `factor` [B] times as fast."""
        one = factor[:, None]
        return replace(
            self,
            velocity=self.velocity * one[..., None],
            angle=self.angle * one,
            zoom=self.zoom * one,
            shear=self.shear * one,
            warp=self.warp * one[..., None, None, None],
        )

    def reach(self, height: int, width: int) -> Tensor:
        """[B, L] pixels: roughly the largest distance of a layer's outline from its centre, at most that of a frame."""
        corner = math.hypot(height, width) / 2
        reach = (math.sqrt(0.5) / self.frame.flatten(-2).norm(dim=-1)).clamp(max=corner)
        return torch.cat([torch.full_like(reach[:, :1], corner), reach[:, 1:]], dim=1)

    def linear(self, time: float | Tensor) -> Tensor:
        """The matrix A(t), [..., 2, 2]."""
        cos, sin = (self.angle * time).cos(), (self.angle * time).sin()
        slant = self.shear * time
        turned = torch.stack([cos, cos * slant - sin, sin, sin * slant + cos], dim=-1)
        grown = turned * (self.zoom * time).exp()[..., None]
        return grown.view(*grown.shape[:-1], 2, 2)

    def inverse(self, time: float | Tensor) -> Tensor:
        """The inverse of the matrix A(t), [..., 2, 2]."""
        cos, sin = (self.angle * time).cos(), (self.angle * time).sin()
        slant = self.shear * time
        back = torch.stack([cos + slant * sin, sin - slant * cos, -sin, cos], dim=-1)
        shrunk = back * (-self.zoom * time).exp()[..., None]
        return shrunk.view(*shrunk.shape[:-1], 2, 2)
