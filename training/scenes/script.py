"""What there is in a scene and how it moves, as numbers. `author` makes them, `drawing` draws them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

LAYERS = 6
"""A background and up to five things before it, the nearest last."""
WARP = (5, 7)
"""Knots of a non-rigid warp, down and across the frame."""


@dataclass(frozen=True)
class Script:
    """Tensors over items B and layers L. Points are pixels from the frame's middle, x before y, y downwards.

    A point p of a layer, counted from the layer's own middle at t = 0, is at time t, from -1/2 to 1/2, at
    `centre + t velocity + A(t) p + t warp`, where A(t) = e^(t zoom) · rotation by t angle · shear by t shear.
    """

    texture: Tensor
    """[B, L] picture in the texture atlas. Its place for a point p is `view @ p + origin`, 0 to 1 from edge to edge."""
    view: Tensor
    origin: Tensor
    colour: Tensor
    """[B, L, 3, 3], and `tint` [B, L, 3]: shown is `colour @ rgb + tint`."""
    tint: Tensor
    outline: Tensor
    """[B, L] picture in the outline atlas, of signed distances. The place for a point p is `frame @ p + 1/2`."""
    frame: Tensor
    edge: Tensor
    """[B, L] pixels a unit of distance, for an edge of one pixel; less makes it softer."""
    opacity: Tensor
    """[B, L], 0 where there is no such layer."""
    centre: Tensor
    velocity: Tensor
    angle: Tensor
    zoom: Tensor
    shear: Tensor
    warp: Tensor
    """[B, L, 2, *WARP] pixels, at knots from corner to corner of the frame."""
    gain: Tensor
    """[B, L], the same for all layers: brightness at time t is e^(t gain) times the middle's."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Script:
        """The script with every tensor changed alike."""
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
        """[B, L] pixels, about as far as a layer's outline goes from its middle, and no further than a frame does."""
        corner = math.hypot(height, width) / 2
        reach = (math.sqrt(0.5) / self.frame.flatten(-2).norm(dim=-1)).clamp(max=corner)
        return torch.cat([torch.full_like(reach[:, :1], corner), reach[:, 1:]], dim=1)

    def linear(self, time: float | Tensor) -> Tensor:
        """A(t) [..., 2, 2]."""
        cos, sin = (self.angle * time).cos(), (self.angle * time).sin()
        slant = self.shear * time
        turned = torch.stack([cos, cos * slant - sin, sin, sin * slant + cos], dim=-1)
        grown = turned * (self.zoom * time).exp()[..., None]
        return grown.view(*grown.shape[:-1], 2, 2)

    def inverse(self, time: float | Tensor) -> Tensor:
        """The inverse of A(t) [..., 2, 2]."""
        cos, sin = (self.angle * time).cos(), (self.angle * time).sin()
        slant = self.shear * time
        back = torch.stack([cos + slant * sin, sin - slant * cos, -sin, cos], dim=-1)
        shrunk = back * (-self.zoom * time).exp()[..., None]
        return shrunk.view(*shrunk.shape[:-1], 2, 2)
