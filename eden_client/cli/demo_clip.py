"""A short clip with real motion to try the server on: python -m eden_client.cli.demo_clip OUTPUT.mp4

Textured toys roll, spin and pass in front of each other, 4 to 20 pixels per frame, over a landscape that pans.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from media import Frame, encode_image, encode_npy, encode_video

HEIGHT, WIDTH = 256, 448
FRAMES, RATE = 24, Fraction(12)
_FINE = 2
"""Everything is drawn this many times larger and scaled down, which smooths the edges."""


@dataclass(frozen=True)
class Toy:
    """One moving thing. Positions are of its centre, in pixels of the finished frame; `spin` is degrees per frame."""

    picture: Image.Image
    start: tuple[float, float]
    velocity: tuple[float, float]
    spin: float
    bounce: float = 0.0
    grounded: bool = False

    def place(self, index: int) -> tuple[float, float, float]:
        """(x, y, angle) at frame `index`."""
        hop = self.bounce * abs(math.sin(index * math.pi / 12))
        return (
            self.start[0] + index * self.velocity[0],
            self.start[1] + index * self.velocity[1] - hop,
            -index * self.spin,
        )


def draw_clip() -> Iterator[Frame]:
    """The clip's frames, uint8 [256, 448, 3]; the same on every run."""
    random = np.random.default_rng(7)
    landscape = _landscape(random, WIDTH + 6 * FRAMES)
    toys = (
        Toy(_ball(random, 92, ("#f4b942", "#d1495b")), (-30, 176), (12, 0), 13, grounded=True),
        Toy(_crate(random, 84), (330, 96), (-9, 2.5), -5),
        Toy(_star(random, 88), (120, 40), (4, 6), 9),
        Toy(_ball(random, 54, ("#e8eef2", "#2e86ab")), (430, 208), (-14, 0), -15, bounce=44, grounded=True),
    )
    for index in range(FRAMES):
        left = 5 * index * _FINE
        canvas = landscape.crop((left, 0, left + WIDTH * _FINE, HEIGHT * _FINE))
        for toy in toys:
            x, y, angle = toy.place(index)
            if toy.grounded:
                _shade(canvas, toy.picture.width, x, toy.start[1])
            turned = toy.picture.rotate(angle, Image.Resampling.BICUBIC)
            corner = (round(x * _FINE - turned.width / 2), round(y * _FINE - turned.height / 2))
            canvas.paste(turned, corner, turned)
        yield np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def _noise(random: np.random.Generator, height: int, width: int, octaves: tuple[int, ...]) -> np.ndarray:
    """Smooth noise [height, width] in about -1..1: random grids of growing fineness, scaled up and summed."""
    total = np.zeros((height, width), np.float32)
    for depth, cell in enumerate(octaves):
        grid = random.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) / 2**depth
    return total / 2


def _landscape(random: np.random.Generator, width: int) -> Image.Image:
    """Sky, three ranges of hills and a meadow, each with its own grain."""
    height, width = HEIGHT * _FINE, width * _FINE
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = (1 - down) * np.array([92, 148, 206], np.float32) + down * np.array([250, 214, 170], np.float32)
    clouds = np.clip(_noise(random, height, width, (160, 80, 40, 20)), 0, 1)[..., None] * (1 - down)
    picture = picture + clouds * (255 - picture) * 0.8
    ranges = (
        (0.42, 60, (120, 138, 168)),
        (0.55, 46, (84, 116, 118)),
        (0.68, 34, (64, 104, 74)),
        (0.8, 14, (96, 136, 62)),
    )
    rows = np.arange(height)[:, None]
    for level, swing, colour in ranges:
        ridge = height * level + swing * _FINE * _noise(random, 4, width, (170, 60, 24))[1]
        grain = 1 + 0.22 * _noise(random, height, width, (28, 12, 6))[..., None]
        picture = np.where((rows > ridge)[..., None], np.array(colour, np.float32) * grain, picture)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _grained(picture: Image.Image, random: np.random.Generator, strength: float) -> Image.Image:
    """The drawing with fine-grained brightness, so that every part of it can be followed."""
    pixels = np.array(picture, dtype=np.float32)
    grain = 1 + strength * _noise(random, pixels.shape[0], pixels.shape[1], (24, 10, 5))
    pixels[..., :3] = np.clip(pixels[..., :3] * grain[..., None], 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def _blank(diameter: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    side = diameter * _FINE
    picture = Image.new("RGBA", (side, side))
    return picture, ImageDraw.Draw(picture), side


def _ball(random: np.random.Generator, diameter: int, colours: tuple[str, str]) -> Image.Image:
    picture, draw, side = _blank(diameter)
    for slice_ in range(8):
        draw.pieslice((2, 2, side - 2, side - 2), slice_ * 45, slice_ * 45 + 45, fill=colours[slice_ % 2])
    rim = side * 0.36
    draw.ellipse((rim, rim, side - rim, side - rim), fill="#fffaf0")
    draw.ellipse((2, 2, side - 2, side - 2), outline="#3b2f2f", width=5)
    return _grained(picture, random, 0.15)


def _crate(random: np.random.Generator, diameter: int) -> Image.Image:
    picture, draw, side = _blank(diameter)
    edge = side * 0.16
    box = (edge, edge, side - edge, side - edge)
    draw.rectangle(box, fill="#a8703a")
    for plank in range(1, 5):
        x = edge + plank * (side - 2 * edge) / 5
        draw.line((x, edge, x, side - edge), fill="#6f4518", width=4)
    for line in ((edge, edge, side - edge, side - edge), (edge, side - edge, side - edge, edge)):
        draw.line(line, fill="#8a5a2b", width=18)
    draw.rectangle(box, outline="#5a3512", width=12)
    return _grained(picture, random, 0.3)


def _star(random: np.random.Generator, diameter: int) -> Image.Image:
    picture, draw, side = _blank(diameter)
    middle = side / 2
    points = []
    for corner in range(10):
        reach, angle = middle * (0.94 if corner % 2 == 0 else 0.44), corner * math.pi / 5
        points.append((middle + reach * math.sin(angle), middle - reach * math.cos(angle)))
    draw.polygon(points, fill="#ef476f")
    for corner in range(0, 10, 2):
        draw.line((middle, middle, *points[corner]), fill="#ffd166", width=6)
    draw.line([*points, points[0]], fill="#7a1631", width=7, joint="curve")
    return _grained(picture, random, 0.2)


def _shade(canvas: Image.Image, side: int, x: float, y: float) -> None:
    """A soft shadow on the ground below a toy that rolls along y."""
    shadow = Image.new("L", (side, side // 2))
    ImageDraw.Draw(shadow).ellipse((side * 0.15, side * 0.12, side * 0.85, side * 0.38), fill=96)
    shadow = shadow.filter(ImageFilter.GaussianBlur(side / 24))
    canvas.paste((20, 26, 20), (round(x * _FINE - side / 2), round(y * _FINE + side * 0.28)), shadow)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eden_client.cli.demo_clip", description="Draw a short clip to try the server on."
    )
    parser.add_argument("output", metavar="OUTPUT.mp4", type=Path)
    parser.add_argument(
        "--stills",
        action="store_true",
        help="the clip's file; first.png, second.png and frames.npy (five frames) are written beside it",
    )
    args = parser.parse_args()
    frames = list(draw_clip())
    encode_video(frames, RATE, args.output)
    print(f"{args.output}: {len(frames)} frames of {WIDTH}x{HEIGHT}, {RATE} per second")
    if args.stills:
        folder = args.output.parent
        (folder / "first.png").write_bytes(encode_image(frames[8], "png"))
        (folder / "second.png").write_bytes(encode_image(frames[9], "png"))
        (folder / "frames.npy").write_bytes(encode_npy(np.stack(frames[8:13])))


if __name__ == "__main__":
    main()
