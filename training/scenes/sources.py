"""The pictures that scenes are made of: photographs, patterns, pages of text.

Training and held-out scenes share none of them: they have other photographs, words and random numbers. The photographs
come with scikit-image and matplotlib; nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.resources import as_file, files

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

PHOTOGRAPHS = {
    False: (
        "skimage/data/astronaut.png",
        "skimage/data/coffee.png",
        "skimage/data/motorcycle_left.png",
        "skimage/data/motorcycle_right.png",
        "skimage/data/rocket.jpg",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    ),
    True: ("skimage/data/camera.png", "skimage/data/chelsea.png"),
}
"""Files inside installed packages, for training (False) and held out (True)."""

SURFACES = {
    False: tuple(
        f"skimage/data/{name}"
        for name in ("brick.png", "coins.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "page.png")
    ),
    True: tuple(f"skimage/data/{name}" for name in ("grass.png", "moon.png", "text.png")),
}
"""Photographs of a single texture."""

SYLLABLES = {
    False: ("an", "be", "cor", "du", "el", "fi", "gam", "ho", "il", "jo", "ker", "lu"),
    True: ("mi", "nep", "os", "pra", "qui", "ru", "sat", "to", "un", "vel", "wy", "zen"),
}
"""The syllables of words: no word of one set can be a word of the other."""

SEEDS = {False: 101, True: 202}
"""Seeds of patterns, pages and outlines."""

VIEW = (480, 320)
"""Width and height of a photograph's view, in pixels of a frame."""
PATTERN = 240
"""Side of a pattern, in pixels of a frame."""


def photographs(held_out: bool) -> Iterator[Image.Image]:
    """Views of the photographs, 480x320."""
    return _views(PHOTOGRAPHS[held_out])


def surfaces(held_out: bool) -> Iterator[Image.Image]:
    """Views of the surfaces, 480x320."""
    return _views(SURFACES[held_out])


def miniatures(held_out: bool) -> Iterator[Image.Image]:
    """The photographs at 240x160."""
    for picture in _opened(PHOTOGRAPHS[held_out]):
        yield ImageOps.fit(picture, (VIEW[0] // 2, VIEW[1] // 2), Image.Resampling.LANCZOS)


def _views(names: tuple[str, ...]) -> Iterator[Image.Image]:
    """Two views per picture, which it fills: its two ends, or the whole picture and its enlarged middle."""
    for picture in _opened(names):
        cover = max(VIEW[0] / picture.width, VIEW[1] / picture.height)
        room = max(picture.width * cover / VIEW[0], picture.height * cover / VIEW[1])
        for end, larger in ((0.0, 1.0), (1.0, 1.0)) if room > 1.2 else ((0.5, 1.0), (0.5, 1.4)):
            scale = cover * larger
            size = math.ceil(picture.width * scale), math.ceil(picture.height * scale)
            left, top = (round((whole - part) * end) for whole, part in zip(size, VIEW, strict=True))
            scaled = picture.resize(size, Image.Resampling.LANCZOS)
            yield scaled.crop((left, top, left + VIEW[0], top + VIEW[1]))


def _opened(names: tuple[str, ...]) -> Iterator[Image.Image]:
    for name in names:
        package, _, inside = name.partition("/")
        with as_file(files(package) / inside) as path, Image.open(path) as opened:
            yield opened.convert("RGB")


def patterns(held_out: bool) -> Iterator[Image.Image]:
    """Smooth noise of several scales, stripes, checks, dots and gradients, in grey and colour, to be recoloured."""
    random = np.random.default_rng(SEEDS[held_out])
    for octaves in ((48, 24), (64, 32, 16, 8, 4), (24, 12, 6, 3), (16, 8), (8, 4, 2), (6, 3), (40, 5), (4, 2)):
        yield _picture(0.5 + 0.25 * _noise(random, octaves))
    across, down = np.meshgrid(*2 * [np.arange(PATTERN, dtype=np.float32)])
    for period, hardness in ((8, 1.0), (20, 6.0), (26, 1.0), (50, 6.0)):
        angle, bend = random.uniform(0, math.pi), random.uniform(3, 15)
        along = across * math.cos(angle) + down * math.sin(angle) + bend * _noise(random, (80,))[..., 0]
        wave = np.tanh(hardness * np.sin(2 * math.pi * along / period))
        yield _picture(_between(random, wave) + 0.08 * _noise(random, (30, 4)))
    for period in (22, 45):
        angle = random.uniform(0, math.pi)
        u = across * math.cos(angle) + down * math.sin(angle)
        v = down * math.cos(angle) - across * math.sin(angle)
        product = np.sin(2 * math.pi * u / period) * np.sin(2 * math.pi * v / period)
        yield _picture(_between(random, np.tanh(8 * product)) + 0.08 * _noise(random, (40, 6)))
        yield _picture(_between(random, np.tanh(8 * (product - 0.5))))
    for _ in range(3):
        slope = random.normal(size=(2, 3)).astype(np.float32) * 0.7 / PATTERN
        yield _picture(0.5 + (across - PATTERN / 2)[..., None] * slope[0] + (down - PATTERN / 2)[..., None] * slope[1])


def pages(held_out: bool) -> Iterator[Image.Image]:
    """Lines of text of several sizes on paper, dark on light and light on dark."""
    random = np.random.default_rng(SEEDS[held_out] + 1)
    for size in (11, 15, 22, 36, 60):
        paper, ink = random.uniform(150, 255, 3), random.uniform(0, 110, 3)
        if random.random() < 0.4:
            paper, ink = ink, paper
        page = Image.new("RGB", (VIEW[0], VIEW[1]), tuple(int(c) for c in paper))
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
        for top in np.arange(4, VIEW[1], size * 1.35):
            line = " ".join(word(random, held_out) for _ in range(1 + VIEW[0] // (2 * size)))
            draw.text((int(random.integers(2, 2 * size)), float(top)), line, tuple(int(c) for c in ink), font)
        yield page


def _noise(random: np.random.Generator, octaves: tuple[int, ...]) -> np.ndarray:
    """Smooth noise [240, 240, 3] of deviation 1: random grids with cells of these sizes, scaled up and summed."""
    channels = []
    for _ in range(3):
        total = np.zeros((PATTERN, PATTERN), np.float32)
        for depth, cell in enumerate(octaves):
            grid = random.standard_normal((PATTERN // cell + 2,) * 2).astype(np.float32)
            total += np.asarray(Image.fromarray(grid).resize((PATTERN,) * 2, Image.Resampling.BICUBIC)) / 1.5**depth
        channels.append(total / total.std())
    return np.stack(channels, -1)


def _between(random: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """A wave [240, 240] from -1 to 1 as a transition between two colours."""
    first, second = random.uniform(0.05, 0.95, (2, 3)).astype(np.float32)
    colours: np.ndarray = first + (second - first) * (wave[..., None] + 1) / 2
    return colours


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def word(random: np.random.Generator, held_out: bool) -> str:
    """One to three syllables."""
    made = "".join(random.choice(SYLLABLES[held_out], random.integers(1, 4)))
    return made.capitalize() if random.random() < 0.3 else made
