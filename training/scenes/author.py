"""Writes random scripts: mostly photographs, objects that cross and turn, cameras that pan, roll and zoom in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.scenes.atlas import FINENESS, Atlas
from training.scenes.outlines import REACH
from training.scenes.script import LAYERS, WARP, Script

SHARES = {"photograph": 0.48, "miniature": 0.22, "surface": 0.12, "pattern": 0.14, "page": 0.04}
"""Fractions of the kinds of pictures that layers show."""
SOFTEST = 0.6 / (REACH - 1)
"""Pixels per unit: a softer edge would not have faded out where an outline's picture ends."""


class Author:
    """Writes scripts. All randomness comes from one generator on the device, and nothing waits for the device."""

    def __init__(self, textures: Atlas, outlines: Atlas, generator: torch.Generator) -> None:
        self._textures, self._outlines, self._generator = textures, outlines, generator
        self._device = generator.device

    def write(self, count: int, height: int, width: int) -> Script:
        """Scripts of `count` scenes, in which the fastest object moves about one pixel."""
        shape = (count, LAYERS)
        size = height * torch.where(
            self._chance(0.85, *shape),
            self._between(0.08, 0.45, *shape, log=True),
            self._between(0.45, 1.2, *shape, log=True),
        )
        stretch = self._between(0.7, 1.4, *shape, log=True)
        turn = _rotation(self._normal(*shape) * 0.7)
        texture = self._texture(count, width)
        view, origin = self._view(texture, height, width)
        colour, tint = self._colours(texture)
        soft = torch.where(self._chance(0.2, *shape), self._between(0.12, 0.6, *shape), 1.0)
        return Script(
            texture=texture,
            view=view,
            origin=origin,
            colour=colour,
            tint=tint,
            outline=torch.randint(len(self._outlines.sizes), shape, generator=self._generator, device=self._device),
            frame=turn / (2 * REACH * size[..., None] * torch.stack([stretch, 1 / stretch], -1))[..., None],
            edge=(size * soft).clamp(min=SOFTEST),
            opacity=self._opacity(count),
            gain=(self._normal(count, 1) * 0.08 * self._chance(0.4, count, 1)).expand(shape),
            **self._motion(count, height, width, size),
        )

    def turns(self, script: Script, most: float) -> Tensor:
        """Additional rotation [B, L], up to `most` radians either way, of most layers in half of the scenes."""
        shape = script.angle.shape
        turning = self._chance(0.5, shape[0], 1) & self._chance(0.7, *shape)
        return self._between(-most, most, *shape) * turning

    def _texture(self, count: int, width: int) -> Tensor:
        """Pictures [B, L]. A miniature is too small for the background of a large frame."""
        draw = self._between(0, 1, count, LAYERS)
        texture = torch.zeros(count, LAYERS, dtype=torch.long, device=self._device)
        start = 0.0
        for kind, share in SHARES.items():
            numbers = self._textures.kinds[kind]
            one = numbers.start + ((draw - start) / share * len(numbers)).long().clamp(0, len(numbers) - 1)
            texture = torch.where(draw >= start, one, texture)
            start += share
        if width > self._textures.widths[self._textures.kinds["miniature"].start] // FINENESS:
            sharp = self._textures.kinds["photograph"]
            texture[:, 0] = torch.where(
                self._shows("miniature", texture[:, 0]), texture[:, 0] % len(sharp) + sharp.start, texture[:, 0]
            )
        return texture

    def _view(self, texture: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Rotation, flip and slight stretch, at most FINENESS texels per pixel: [B, L, 2, 2] and [B, L, 2]."""
        shape = texture.shape
        step = FINENESS * self._between(0.45, 1, *shape, log=True)
        lean = self._normal(*shape) * torch.where(self._chance(0.75, *shape), 0.08, 1.5)
        flip = torch.where(self._chance(0.5, *shape), -1.0, 1.0)
        stretch = torch.stack([flip * self._between(0.8, 1, *shape), torch.ones_like(flip)], -1)
        texels = step[..., None, None] * _rotation(lean) * stretch[..., None, :]
        sizes = self._textures.sizes[texture]
        seen = step[..., None] * torch.tensor([width, height], device=self._device)
        room = torch.where(torch.arange(LAYERS, device=self._device)[:, None] == 0, (sizes - seen).clamp(min=0), sizes)
        origin = 0.5 + self._between(-0.5, 0.5, *shape, 2) * room / sizes
        return texels / sizes[..., None], origin

    def _colours(self, texture: Tensor) -> tuple[Tensor, Tensor]:
        """Contrast, saturation, hue, brightness: photographs change little, patterns much; some layers are plain."""
        shape = texture.shape
        photograph = ~(self._shows("pattern", texture) | self._shows("page", texture))
        plain = self._chance(0.1, *shape)
        plain[:, 0] &= self._chance(0.3, shape[0])
        true = photograph & ~plain & self._chance(0.9, *shape)
        hue = torch.where(true, self._normal(*shape) * 0.1, self._between(-math.pi, math.pi, *shape))[..., None, None]
        saturation = self._between(0.3, 1.2, *shape)
        contrast = torch.where(photograph, self._between(0.6, 1.15, *shape), self._between(0.15, 1, *shape))
        contrast = torch.where(plain, self._between(0, 0.08, *shape), contrast)
        grey = torch.full((3, 3), 1 / 3, device=self._device)
        across = torch.eye(3, device=self._device) - grey
        around = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=self._device) / math.sqrt(3)
        chroma = (hue.cos() * across + hue.sin() * around) * saturation[..., None, None]
        colour = contrast[..., None, None] * (grey + chroma)
        light = self._between(-1, 1, *shape) * torch.where(true, 0.1, 0.4 * (1 - 0.7 * contrast))
        cast = self._normal(*shape, 3) * torch.where(true, 0.02, 0.12)[..., None]
        return colour, 0.5 + light[..., None] + cast - 0.5 * colour.sum(-1)

    def _opacity(self, count: int) -> Tensor:
        """Opacity [B, L]: the background is always there, others in some scenes only, and some are translucent."""
        present = self._between(0, 1, count, LAYERS) < self._between(0, 1, count, 1)
        glass = torch.where(self._chance(0.05, count, LAYERS), self._between(0.4, 0.9, count, LAYERS), 1.0)
        opacity = present * glass
        opacity[:, 0] = 1
        return opacity

    def _motion(self, count: int, height: int, width: int, size: Tensor) -> dict[str, Tensor]:
        """The motion of the camera, which may move near objects more, and each object's own. Either may be zero."""
        shape = (count, LAYERS)
        centre = self._between(-0.95, 0.95, *shape, 2) * torch.tensor([width / 2, height / 2], device=self._device)
        centre[:, 0] = 0
        camera = self._chance(0.7, count, 1)
        own = self._chance(0.7, *shape)
        own[:, 0] = False
        near = self._between(1, 1.6, *shape).sort(dim=-1).values
        near = torch.where(self._chance(0.5, count, 1), near, 1.0)
        pan = self._heading(count, 1) * camera[..., None] * near[..., None]
        corner = math.hypot(height, width) / 2
        roll = self._normal(count, 1) * (camera & self._chance(0.3, count, 1)) * 0.6 / corner
        push = self._normal(count, 1) * (camera & self._chance(0.4, count, 1)) * 0.9 / corner
        arm = size.clamp(min=0.15 * height)
        turn = self._normal(*shape) * (own & self._chance(0.5, *shape)) * 0.6 / arm
        grow = self._normal(*shape) * (own & self._chance(0.3, *shape)) * 0.4 / arm
        lean = self._normal(*shape) * (own & self._chance(0.2, *shape)) * 0.3 / arm
        swung = torch.stack([-centre[..., 1], centre[..., 0]], -1) * roll[..., None] + centre * push[..., None]
        bends = (own | camera) & self._chance(0.3, *shape)
        strength = self._between(0.05, 0.2, *shape) * bends
        return {
            "centre": centre,
            "velocity": pan + swung + self._heading(*shape) * own[..., None],
            "angle": turn + roll,
            "zoom": grow + push,
            "shear": lean,
            "warp": self._normal(*shape, 2, *WARP) * strength[..., None, None, None],
        }

    def _heading(self, *shape: int) -> Tensor:
        """Velocities [..., 2] in any direction, more often horizontal, of length 0.2 to 1."""
        angle, flatness = self._between(0, 2 * math.pi, *shape), self._between(0.2, 1, *shape)
        speed = self._between(0.2, 1, *shape)
        return torch.stack([angle.cos(), angle.sin() * flatness], -1) * speed[..., None]

    def _shows(self, kind: str, texture: Tensor) -> Tensor:
        numbers = self._textures.kinds[kind]
        return (texture >= numbers.start) & (texture < numbers.stop)

    def _between(self, low: float, high: float, *shape: int, log: bool = False) -> Tensor:
        uniform = torch.rand(shape, generator=self._generator, device=self._device)
        return low * (high / low) ** uniform if log else low + (high - low) * uniform

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._device).clamp(-2.5, 2.5)

    def _chance(self, share: float, *shape: int) -> Tensor:
        return self._between(0, 1, *shape) < share


def _rotation(angle: Tensor) -> Tensor:
    """[..., 2, 2]"""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).view(*angle.shape, 2, 2)
