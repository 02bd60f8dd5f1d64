"""What happens in a scene: which layers, how they look, how they move. All of it random, all of it drawn at once."""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, fields, replace

import torch
from torch import Tensor

from training.scenes_atlas import FINENESS, Atlas
from training.scenes_sources import REACH

LAYERS = 6
"""A background and up to five things before it, the nearest last."""
WARP = (5, 7)
"""Knots of a non-rigid warp, down and across the frame."""


@dataclass(frozen=True)
class Script:
    """Tensors over items B and layers L. Points are in pixels from the frame's middle, x before y, y downwards.

    A point p of a layer (from the layer's own middle, when t = 0) is at time t, -1/2 to 1/2, at
    `centre + t velocity + A(t) p + t warp`, A(t) = e^(t zoom) · rotation by t angle · shear by t shear.
    """

    texture: Tensor
    """[B, L] picture in the texture atlas; a point p has its texel at `view @ p + origin`."""
    view: Tensor
    origin: Tensor
    colour: Tensor
    """[B, L, 3, 3] and `tint` [B, L, 3]: shown is `colour @ rgb + tint`."""
    tint: Tensor
    outline: Tensor
    """[B, L] picture in the outline atlas; a point p has its sample at `frame @ p + its middle`."""
    frame: Tensor
    edge: Tensor
    """[B, L] pixels a unit of distance: opacity grows from 0 to 1 over one pixel, or over more where smaller."""
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
    """[B] brightness at t is e^(t gain) times the middle's."""

    def layer(self, number: int) -> Script:
        """One layer's tensors, without their L."""
        return Script(**{f.name: v if f.name == "gain" else v[:, number] for f, v in self._items()})

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

    def _items(self) -> list[tuple[Field, Tensor]]:
        return [(field, getattr(self, field.name)) for field in fields(self)]


def linear(script: Script, time: float) -> Tensor:
    """A(t) [..., 2, 2]."""
    cos, sin = (script.angle * time).cos(), (script.angle * time).sin()
    slant = script.shear * time
    turned = torch.stack([cos, cos * slant - sin, sin, sin * slant + cos], dim=-1)
    return (turned * (script.zoom * time).exp()[..., None]).unflatten(-1, (2, 2))


class Author:
    """Writes scripts, all randomness from one generator on the device."""

    def __init__(self, textures: Atlas, outlines: Atlas, generator: torch.Generator) -> None:
        self._textures, self._outlines, self._generator = textures, outlines, generator

    def write(self, count: int, height: int, width: int) -> Script:
        """Scripts of `count` scenes, in which the fastest things move about a pixel."""
        shape = (count, LAYERS)
        size = height * self._between(0.07, 0.45, *shape, log=True)
        stretch = self._between(0.7, 1.4, *shape, log=True)
        texture, flat = self._texture(count)
        view = self._view(count, size)
        places = self._textures.places[texture]
        background = torch.arange(LAYERS, device=size.device) == 0
        room = (places[..., 2:] / FINENESS - torch.tensor([width, height], device=size.device)).clamp(min=60)
        spread = torch.where(background[:, None], room, places[..., 2:] / 2)
        turn = self._rotation(self._normal(*shape) * 0.7)
        frame = turn / (size[..., None] * torch.stack([stretch, 1 / stretch], -1))[..., None]
        colour, tint = self._colours(texture, flat)
        soft = torch.where(self._chance(0.2, *shape), self._between(0.12, 0.6, *shape), 1.0)
        return Script(
            texture=texture,
            view=view,
            origin=places[..., 2:] / 2 + self._between(-0.5, 0.5, *shape, 2) * spread,
            colour=colour,
            tint=tint,
            outline=self._below(len(self._outlines.places), *shape),
            frame=frame * (self._outlines.places[0, 2] / (2 * REACH)),
            edge=size * soft,
            opacity=self._opacity(count),
            gain=self._normal(count) * 0.06 * self._chance(0.4, count),
            **self._motion(count, height, width, size),
        )

    def _texture(self, count: int) -> tuple[Tensor, Tensor]:
        """Pictures [B, L], photographs above all, and which layers show next to nothing of theirs."""
        draw = self._between(0, 1, count, LAYERS)
        page = torch.where(torch.arange(LAYERS, device=draw.device) == 0, 0.95, 0.98)
        kinds = self._textures.kinds
        choices = {kind: first + self._below(many, count, LAYERS) for kind, (first, many) in kinds.items()}
        texture = torch.where(draw < 0.65, choices["photograph"], choices["pattern"])
        return torch.where(draw > page, choices["page"], texture), self._chance(0.12, count, LAYERS)

    def _view(self, count: int, size: Tensor) -> Tensor:
        """Matrices [B, L, 2, 2] from pixels to texels: turned, flipped, at most FINENESS texels a pixel."""
        step = FINENESS * self._between(0.4, 1, count, LAYERS, log=True)
        tilt = self._normal(count, LAYERS) * torch.where(self._chance(0.75, count, LAYERS), 0.08, 1.5)
        flip = torch.where(self._chance(0.5, count, LAYERS), -1.0, 1.0)
        turned = self._rotation(tilt) * step[..., None, None]
        return turned * torch.stack([flip, torch.ones_like(flip)], -1)[..., None, :]

    def _colours(self, texture: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Contrast, saturation, hue and brightness: little change to photographs, much to patterns."""
        shape = texture.shape
        first, many = self._textures.kinds["photograph"]
        photograph = (texture >= first) & (texture < first + many)
        true = photograph & self._chance(0.8, *shape)
        hue = torch.where(true, self._normal(*shape) * 0.1, self._between(-math.pi, math.pi, *shape))
        low, high = torch.where(photograph, 0.6, 0.15), torch.where(photograph, 1.15, 1.1)
        contrast = low + (high - low) * self._between(0, 1, *shape)
        contrast = torch.where(flat, self._between(0, 0.08, *shape), contrast)
        saturation = torch.where(true, self._between(0.5, 1.2, *shape), self._between(0, 1.5, *shape))
        grey = torch.full((3, 3), 1 / 3, device=hue.device)
        eye = torch.eye(3, device=hue.device)
        spin = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=hue.device) / math.sqrt(3)
        hue = hue[..., None, None]
        chroma = (hue.cos() * (eye - grey) + hue.sin() * spin) * saturation[..., None, None]
        colour = contrast[..., None, None] * (grey + chroma)
        middle = 0.5 + self._between(-1, 1, *shape, 3) * torch.where(true & ~flat, 0.08, 0.4)[..., None]
        return colour, middle - 0.5 * colour.sum(-1)

    def _opacity(self, count: int) -> Tensor:
        """[B, L]: the background always, the nearest thing nearly always, the others in some scenes; few are glass."""
        busy = self._between(0, 1, count, 1)
        present = self._between(0, 1, count, LAYERS) < busy
        present[:, 0] = True
        present[:, -1] = self._chance(0.9, count)
        glass = self._chance(0.05, count, LAYERS)
        glass[:, 0] = False
        return present * torch.where(glass, self._between(0.4, 0.9, count, LAYERS), 1.0)

    def _motion(self, count: int, height: int, width: int, size: Tensor) -> dict[str, Tensor]:
        """A camera's motion, which moves near things more, and each thing's own; some rest, some scenes have neither."""
        shape, device = (count, LAYERS), size.device
        half = torch.tensor([width / 2, height / 2], device=device)
        centre = self._between(-0.95, 0.95, *shape, 2) * half
        centre[:, 0] = 0
        camera = self._chance(0.65, count, 1)
        own = self._chance(0.7, *shape) | ~camera
        own[:, 0] = False
        near = self._between(1, 1.6, *shape).sort(dim=-1).values
        near = torch.where(self._chance(0.5, count, 1), near, 1.0)
        pan = self._heading(count, 1) * camera[..., None]
        diagonal = math.hypot(height, width) / 2
        roll, push = (
            (self._normal(count, 1) * camera * self._chance(p, count, 1) * s / diagonal)
            for p, s in ((0.3, 0.5), (0.4, 0.7))
        )
        arm = size.clamp(min=0.15 * height)
        turn, grow, slant = (
            self._normal(*shape) * own * self._chance(p, *shape) * s / arm
            for p, s in ((0.5, 0.6), (0.3, 0.4), (0.2, 0.5))
        )
        swing = torch.stack([-centre[..., 1], centre[..., 0]], -1)
        warp = self._normal(*shape, 2, *WARP) * self._between(0.05, 0.35, *shape)[..., None, None, None]
        return {
            "centre": centre,
            "velocity": pan * near[..., None]
            + swing * roll[..., None]
            + centre * push[..., None]
            + self._heading(*shape) * own[..., None],
            "angle": turn + roll,
            "zoom": grow + push,
            "shear": slant,
            "warp": warp * ((own | camera) & self._chance(0.3, *shape))[..., None, None, None],
        }

    def _heading(self, *shape: int) -> Tensor:
        """Velocities [..., 2] any way, more of them level, of 0.2 to 1."""
        angle = self._between(0, 2 * math.pi, *shape)
        speed = self._between(0.2, 1, *shape)
        flatness = self._between(0.2, 1, *shape)
        return torch.stack([angle.cos(), angle.sin() * flatness], -1) * speed[..., None]

    @staticmethod
    def _rotation(angle: Tensor) -> Tensor:
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))

    def _between(self, low: float, high: float, *shape: int, log: bool = False) -> Tensor:
        uniform = torch.rand(shape, generator=self._generator, device=self._generator.device)
        return low * (high / low) ** uniform if log else low + (high - low) * uniform

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._generator.device)

    def _chance(self, share: float, *shape: int) -> Tensor:
        return self._between(0, 1, *shape) < share

    def _below(self, many: int, *shape: int) -> Tensor:
        return torch.randint(many, shape, generator=self._generator, device=self._generator.device)
