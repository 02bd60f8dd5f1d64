"""Makes the README's moving picture: python -m bench.before_after COMPARED.mp4 PICTURE.webp

COMPARED is what `eden-interpolate run/demo/clip.mp4 COMPARED.mp4 --compare` makes, with three panels: frames repeated,
frames blended, and frames drawn by EDEN. The picture shows the first and the last panel, smaller, at the film's speed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image

from media.signals import exit_when_told_to

PANELS = 3
APART = 4
"""Pixels between two panels, as `--compare` leaves them."""
WIDTH = 400
"""Width of a panel, in pixels."""
QUALITY = 40


def pictures(compared: Path) -> Iterator[Image.Image]:
    """The first and the last panel of each frame, side by side."""
    with av.open(str(compared)) as film:
        for frame in film.decode(video=0):
            width = (frame.width - (PANELS - 1) * APART) // PANELS
            size = WIDTH, round(frame.height * WIDTH / width)
            picture = Image.new("RGB", (2 * WIDTH + APART, size[1]), "white")
            for left, place in ((0, 0), (frame.width - width, WIDTH + APART)):
                panel = frame.to_image().crop((left, 0, left + width, frame.height))
                picture.paste(panel.resize(size, Image.Resampling.LANCZOS), (place, 0))
            yield picture


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.before_after", description=__doc__.splitlines()[0])
    parser.add_argument("compared", metavar="COMPARED.mp4", type=Path)
    parser.add_argument("picture", metavar="PICTURE.webp", type=Path)
    options = parser.parse_args()
    with av.open(str(options.compared)) as film:
        rate = film.streams.video[0].average_rate
    if not rate:
        parser.error(f"{options.compared} states no rate")
    first, *others = pictures(options.compared)
    milliseconds = round(1000 / rate)
    first.save(
        options.picture, save_all=True, append_images=others, duration=milliseconds, loop=0, quality=QUALITY, method=6
    )


if __name__ == "__main__":
    exit_when_told_to()
    main()
