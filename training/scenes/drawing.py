"""Draws scripts as frames, at any time from -1/2 to 1/2, each layer of all items at once."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from training.scenes.atlas import Atlas
from training.scenes.script import LAYERS, Script

TIMES = (-0.5, 0.0, 0.5)
Points = tuple[Tensor, Tensor]
"""x and y in pixels, [N, H, W] or [H, W]."""


def draw(script: Script, textures: Atlas, outlines: Atlas, height: int, width: int) -> Tensor:
    """Frames [3, B, 3, height, width] in [0,1], at the three TIMES."""
    count, device = len(script.gain), script.gain.device
    times = torch.tensor(TIMES, device=device).repeat_interleave(count)
    screen = pixels(height, width, 1, device)
    frames = torch.empty(0)
    for number in range(LAYERS):
        once = script.each(partial(_of_layer, number=number))
        layer = once.each(lambda value: value.repeat(len(TIMES), *(1,) * (value.ndim - 1)))
        back = layer.inverse(times)
        start = layer.centre + times[:, None] * layer.velocity
        x, y = _moved(back, screen, -(back @ start[..., None])[..., 0])
        bent = _warp(once.warp, height, width).repeat(len(TIMES), 1, 1, 1)
        ago = -times[:, None, None]
        p = torch.addcmul(x, ago, bent[:, 0]), torch.addcmul(y, ago, bent[:, 1])
        texels = textures.sample(layer.texture, *_moved(layer.view, p, layer.origin), mirrored=True)
        shown = torch.baddbmm(layer.tint[..., None], layer.colour, texels.flatten(2).transpose(0, 1))
        shown = shown.unflatten(-1, (height, width))
        frames = torch.lerp(frames, shown, _coverage(layer, outlines, p)[:, None]) if number else shown
    bright = (times * script.gain[:, 0].repeat(len(TIMES))).exp()
    lit = (frames * bright[:, None, None, None]).clamp(0, 1)
    return lit.view(len(TIMES), count, *lit.shape[1:])


def _of_layer(value: Tensor, number: int) -> Tensor:
    return value[:, number]


class Speedometer:
    """Measures how far objects move that are visible in the middle frame, at every `stride`-th pixel."""

    def __init__(self, script: Script, outlines: Atlas, height: int, width: int, stride: int = 4) -> None:
        layers = script.each(lambda value: value.flatten(0, 1))
        x, y = pixels(height, width, stride, script.gain.device)
        self._points = x - layers.centre[:, 0, None, None], y - layers.centre[:, 1, None, None]
        opacity = _coverage(layers, outlines, self._points).unflatten(0, (-1, LAYERS))
        opacity[:, 0] = 1
        through = (1 - opacity.flip(1)).cumprod(1).flip(1)
        self._seen = opacity * torch.cat([through[:, 1:], torch.ones_like(through[:, :1])], 1) > 0.3

    def read(self, script: Script) -> Tensor:
        """Displacement [B] in pixels of the fastest visible point. `script` may differ from the first in motion."""
        layers = script.each(lambda value: value.flatten(0, 1))
        bent = _warp(layers.warp, *self._points[0].shape[1:])
        dx, dy = _moved(layers.linear(TIMES[-1]) - layers.linear(TIMES[0]), self._points, layers.velocity)
        way = torch.hypot(dx + bent[:, 0], dy + bent[:, 1]).unflatten(0, (-1, LAYERS))
        fastest: Tensor = (way * self._seen).amax((1, 2, 3))
        return fastest


def pixels(height: int, width: int, stride: int, device: torch.device) -> Points:
    """Coordinates of every pixel, or of the centres of `stride`-sized squares, from the frame's centre."""
    across = torch.arange(0.5 * stride, width, stride, device=device) - width / 2
    down = torch.arange(0.5 * stride, height, stride, device=device) - height / 2
    y, x = torch.meshgrid(down, across, indexing="ij")
    return x, y


def _coverage(layer: Script, outlines: Atlas, p: Points) -> Tensor:
    """Opacity [N, H, W] of layers [N] at points p in their own coordinates."""
    places = _moved(layer.frame, p, torch.full_like(layer.centre, 0.5))
    distance = outlines.sample(layer.outline, *places, mirrored=False)[0]
    half = torch.full_like(layer.edge, 0.5)
    inside = torch.addcmul(half[:, None, None], distance, layer.edge[:, None, None])
    return inside.clamp(0, 1) * layer.opacity[:, None, None]


def _moved(matrix: Tensor, points: Points, offset: Tensor) -> Points:
    """matrix [N, 2, 2] @ points + offset [N, 2]."""
    (a, b, c, d), (e, f) = (value.flatten(1)[..., None, None].unbind(1) for value in (matrix, offset))
    x, y = points
    return torch.addcmul(torch.addcmul(e, a, x), b, y), torch.addcmul(torch.addcmul(f, c, x), d, y)


def _warp(knots: Tensor, height: int, width: int) -> Tensor:
    """A warp's knots [B, 2, *WARP] interpolated to [B, 2, height, width], in pixels."""
    return F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
