"""Compares three results side by side: frames repeated, frames blended, and frames drawn by EDEN."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eden_client.film.pipeline import Made
from eden_client.film.plan.timeline import Gap
from eden_client.film.read.film import VideoFormat
from eden_client.film.synthesis import LEFT, RIGHT
from media import Frame, MediaError

NAMES = ("repeated", "blended", "EDEN")
_GAP = 4


def look_of(look: VideoFormat) -> VideoFormat:
    """The format of a comparison of a film with the format `look`."""
    height, width = look.size
    return replace(look, size=(height, 3 * width + 2 * _GAP), alpha=False, bits=8)


def compared(frames: Iterable[tuple[Gap, Iterable[Made]]]) -> Iterator[tuple[Gap, Iterator[Made]]]:
    """Each gap, with its frames as three panels; yields each frame as soon as it is drawn."""
    for gap, made in frames:
        yield gap, (replace(each, position=Fraction(1, 2), pixels=panels(each), alpha=None) for each in made)


def panels(made: Made) -> Frame:
    """A frame repeated, blended and drawn, side by side with their names: [H, 3 W + 8, 3] uint8."""
    left, right = made.gap.left.pixels, (made.gap.right or made.gap.left).pixels
    if made.position in (LEFT, RIGHT):
        picture = left if made.position == LEFT else right
        return side_by_side([picture] * 3)
    assert made.pixels is not None
    weight = float(made.position)
    blended = np.rint((1 - weight) * left + weight * right).astype(np.uint8)
    return side_by_side([left, blended, made.pixels])


def side_by_side(pictures: list[Frame]) -> Frame:
    """Three frames [H, W, 3] side by side with their names: [H, 3 W + 8, 3] uint8."""
    bar = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    canvas = Image.fromarray(np.hstack([pictures[0], bar, pictures[1], bar, pictures[2]]))
    draw = ImageDraw.Draw(canvas)
    height, width = pictures[0].shape[:2]
    font = ImageFont.load_default(size=max(10, min(height // 14, width // 10)))
    for number, name in enumerate(NAMES):
        draw.text((number * (width + _GAP) + 6, 4), name, fill="white", stroke_width=2, stroke_fill="black", font=font)
    return np.array(canvas)


def liveliest_compared(gaps: Iterable[Gap], draw: Callable[[Frame, Frame], Frame], name: str) -> Frame:
    """The film's pair with the most motion, repeated, blended and drawn: [H, 3 W + 8, 3].

    draw   returns the frame between two
    name   of the film, for the error
    Raises MediaError: nothing moves.
    """
    gap = liveliest(gaps)
    if gap is None or gap.right is None:
        raise MediaError(f"{name}: nothing moves, so there is nothing to compare")
    left, right = gap.left.pixels, gap.right.pixels
    blended = ((left.astype(int) + right + 1) // 2).astype(left.dtype)
    return side_by_side([left, blended, draw(left, right)])


def liveliest(gaps: Iterable[Gap]) -> Gap | None:
    """The gap with the most motion, among those that need a drawn frame; None: there is none."""
    best: tuple[float, Gap] | None = None
    for gap in gaps:
        if gap.missing and gap.right is not None:
            rough = (slice(None, None, 4), slice(None, None, 4))
            motion = float(np.abs(gap.left.pixels[rough].astype(np.int16) - gap.right.pixels[rough]).mean())
            if best is None or motion > best[0]:
                best = motion, gap
    return None if best is None else best[1]
