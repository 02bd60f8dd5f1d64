"""Makes the outlines of objects in scenes, as signed distances: shapes, words, lattices, twigs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy import ndimage

from training.scenes.sources import SEEDS, word

OUTLINE = 256
"""Samples per side of an outline's picture."""
REACH = 1.25
"""Half the side of the picture, in units in which the outline reaches 1 from its centre."""


def outlines(held_out: bool) -> Iterator[np.ndarray]:
    """Signed distances [256, 256], positive inside, in units of the outline's reach, of shapes, words and lattices."""
    random = np.random.default_rng(SEEDS[held_out] + 2)
    for _ in range(10):
        for draw_outline in (_blob, _polygon, _star, _ellipse, _box, _ring, _lattice, _twigs):
            picture = Image.new("L", (OUTLINE, OUTLINE))
            draw_outline(ImageDraw.Draw(picture), random)
            yield _distances(picture)
    for _ in range(16):
        yield _distances(_written(word(random, held_out)))


def _written(text: str) -> Image.Image:
    """A word, as large as fits into an outline's picture."""
    font = ImageFont.load_default(100)
    left, top, right, bottom = font.getbbox(text)
    written = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(written).text((-left, -top), text, 255, font)
    room = int(OUTLINE / REACH)
    written = ImageOps.contain(written, (room, room))
    picture = Image.new("L", (OUTLINE, OUTLINE))
    picture.paste(written, ((OUTLINE - written.width) // 2, (OUTLINE - written.height) // 2))
    return picture


def _distances(picture: Image.Image) -> np.ndarray:
    inside = np.asarray(picture) > 127
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), 0.7)
    distances: np.ndarray = smooth * (2 * REACH / OUTLINE)
    return distances


def _polar(draw: ImageDraw.ImageDraw, angles: np.ndarray, radii: np.ndarray) -> None:
    scale = OUTLINE / (2 * REACH)
    x, y = OUTLINE / 2 + scale * radii * np.cos(angles), OUTLINE / 2 + scale * radii * np.sin(angles)
    draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255)


def _box_of(share_x: float, share_y: float) -> tuple[float, float, float, float]:
    half_x, half_y = share_x * OUTLINE / (2 * REACH), share_y * OUTLINE / (2 * REACH)
    return OUTLINE / 2 - half_x, OUTLINE / 2 - half_y, OUTLINE / 2 + half_x, OUTLINE / 2 + half_y


def _blob(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * math.pi, 180)
    radii = np.ones_like(angles)
    for wave in range(2, 7):
        radii += random.normal() * 0.5 / wave * np.cos(wave * angles + random.uniform(0, 7))
    radii = np.maximum(radii, 0.25)
    _polar(draw, angles, radii / radii.max())


def _polygon(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    corners = int(random.integers(3, 9))
    _polar(draw, np.sort(random.uniform(0, 2 * math.pi, corners)), random.uniform(0.55, 1, corners))


def _star(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    corners = 2 * int(random.integers(4, 10))
    radii = np.where(np.arange(corners) % 2, random.uniform(0.3, 0.75), 1.0)
    _polar(draw, np.arange(corners) * 2 * math.pi / corners, radii)


def _ellipse(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    draw.ellipse(_box_of(1, random.uniform(0.4, 1)), fill=255)


def _box(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    draw.rounded_rectangle(_box_of(1, random.uniform(0.3, 1)), radius=random.choice([0, 8, 30]), fill=255)


def _ring(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    draw.ellipse(_box_of(1, 1), outline=255, width=int(random.integers(8, 40)))
    if random.random() < 0.5:
        for spoke in np.arange(0, math.pi, math.pi / random.integers(2, 5)):
            x, y = 0.95 * math.cos(spoke) * OUTLINE / 2 / REACH, 0.95 * math.sin(spoke) * OUTLINE / 2 / REACH
            middle = OUTLINE / 2
            draw.line((middle - x, middle - y, middle + x, middle + y), fill=255, width=int(random.integers(5, 12)))


def _lattice(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    left, top, right, bottom = _box_of(1, 1)
    width, bars = int(random.integers(4, 10)), int(random.integers(3, 9))
    for place in np.linspace(left, right, bars):
        draw.line((place, top, place, bottom), fill=255, width=width)
    for place in np.linspace(top, bottom, int(random.integers(2, 6))):
        draw.line((left, place, right, place), fill=255, width=width)


def _twigs(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """A branch that forks, thinner at each fork."""
    half = OUTLINE / (2 * REACH)
    tips = [(OUTLINE / 2, OUTLINE / 2 + half, -math.pi / 2, 0.7 * half, 12.0)]
    for _ in range(4):
        grown = []
        for x, y, angle, length, width in tips:
            end = x + length * math.cos(angle), y + length * math.sin(angle)
            draw.line((x, y, *end), fill=255, width=max(4, round(width)))
            for turn in (-1, 1):
                grown.append((*end, angle + turn * random.uniform(0.2, 0.8), length * 0.62, width * 0.7))
        tips = grown
