"""Scripts to frames: every layer of every item at once, at any time from -1/2 to 1/2."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.scenes_atlas import Atlas
from training.scenes_script import LAYERS, Script, linear

TIMES = (-0.5, 0.0, 0.5)


def draw(script: Script, textures: Atlas, outlines: Atlas, height: int, width: int) -> Tensor:
    """Frames [3, B, 3, height, width] in 0..1, at TIMES."""
    count = len(script.gain)
    times = torch.tensor(TIMES, device=script.gain.device).repeat_interleave(count)
    x, y = pixels(height, width, 1, script.gain.device)
    frames = torch.empty(0)
    for number in range(LAYERS):
        layer = script.layer(number)
        inverse = torch.cat([torch.linalg.inv_ex(linear(layer, time)).inverse for time in TIMES])
        start = torch.cat([layer.centre + time * layer.velocity for time in TIMES])
        bent = times[:, None, None, None] * _warp(layer, height, width).repeat(len(TIMES), 1, 1, 1)
        p = _moved(inverse, x, y, -(inverse @ start[..., None])[..., 0])
        p = (p[0] - bent[:, 0], p[1] - bent[:, 1])
        picture, view, origin, colour, tint = (
            value.repeat(len(TIMES), *(1,) * (value.ndim - 1))
            for value in (layer.texture, layer.view, layer.origin, layer.colour, layer.tint)
        )
        texels = textures.sample(picture, *_moved(view, *p, origin), mirrored=True)
        shown = torch.einsum("nij,jnhw->inhw", colour, texels) + tint.T[:, :, None, None]
        if number == 0:
            frames = shown
        else:
            opacity = coverage(layer, outlines, p)
            frames = torch.lerp(frames, shown, opacity)
    bright = (times * script.gain.repeat(len(TIMES))).exp()
    frames = (frames * bright[:, None, None]).clamp(0, 1)
    return frames.unflatten(1, (len(TIMES), count)).permute(1, 2, 0, 3, 4).contiguous()


def displacement(script: Script, outlines: Atlas, height: int, width: int, stride: int = 8) -> Tensor:
    """How far, in pixels, the fastest point that is in sight in the middle moves from first to last, [B]."""
    x, y = pixels(height, width, stride, script.gain.device)
    count = len(script.gain)
    sight = torch.ones(count, *x.shape, device=x.device)
    fastest = torch.zeros(count, device=x.device)
    for number in reversed(range(LAYERS)):
        layer = script.layer(number)
        p = x - layer.centre[:, 0, None, None], y - layer.centre[:, 1, None, None]
        opacity = coverage(layer, outlines, p) if number else torch.ones_like(sight)
        ways = linear(layer, TIMES[-1]) - linear(layer, TIMES[0])
        bent = _warp(layer, *x.shape)
        dx, dy = _moved(ways, *p, layer.velocity)
        way = torch.hypot(dx + bent[:, 0], dy + bent[:, 1])
        fastest = torch.maximum(fastest, (way * (sight * opacity > 0.3)).amax((1, 2)))
        sight = sight * (1 - opacity)
    return fastest


def coverage(layer: Script, outlines: Atlas, p: tuple[Tensor, Tensor]) -> Tensor:
    """Opacity [N, H, W] of a layer at its own points p; N is B, or all times of B."""
    times = len(p[0]) // len(layer.gain)
    outline, frame, edge, opacity = (
        value.repeat(times, *(1,) * (value.ndim - 1))
        for value in (layer.outline, layer.frame, layer.edge, layer.opacity)
    )
    middle = outlines.places[outline, 2:] / 2
    inside = outlines.sample(outline, *_moved(frame, *p, middle), mirrored=False)[0]
    return (inside * edge[:, None, None] + 0.5).clamp(0, 1) * opacity[:, None, None]


def pixels(height: int, width: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y [H, W] of every pixel, or of every stride-th, from the frame's middle."""
    across = torch.arange(0.5 * stride, width, stride, device=device) - width / 2
    down = torch.arange(0.5 * stride, height, stride, device=device) - height / 2
    y, x = torch.meshgrid(down, across, indexing="ij")
    return x, y


def _moved(matrix: Tensor, x: Tensor, y: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """matrix [N, 2, 2] @ (x, y) [N, H, W] or [H, W] + offset [N, 2]."""
    a, b, c, d, e, f = torch.cat([matrix.flatten(1), offset], 1)[..., None, None].unbind(1)
    return a * x + b * y + e, c * x + d * y + f


def _warp(layer: Script, height: int, width: int) -> Tensor:
    """[B, 2, H, W] pixels."""
    return F.interpolate(layer.warp, (height, width), mode="bicubic", align_corners=True)
