"""The contact sheet of bench.quality: a row per scene, a column per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from media import Frame

CELL = (280, 160)
"""Width and height of a picture on the sheet."""
GAP, LABEL, MARGIN = 4, 26, 62
"""Pixels between pictures, above the columns, and left of the rows."""
LEFT_OUT = ("repeat", "minterpolate, blend")
"""Methods whose frames look like the first frame, or like the average."""


@dataclass(frozen=True)
class Row:
    """A scene on the sheet: its label, its frames, and what each method made of the outer two."""

    label: str
    first: Frame
    last: Frame
    truth: Frame
    made: Mapping[str, Frame]

    def cells(self) -> dict[str, Frame]:
        shown = {name: frame for name, frame in self.made.items() if name not in LEFT_OUT}
        return {"first": self.first, "last": self.last, "truth": self.truth, **shown}


def write_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as one picture."""
    names = list(rows[0].cells())
    across, down = CELL[0] + GAP, CELL[1] + GAP
    sheet = Image.new("RGB", (MARGIN + across * len(names), LABEL + down * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for column, name in enumerate(names):
        draw.text((MARGIN + across * column + CELL[0] / 2, LABEL / 2), name, "black", font, anchor="mm")
    for number, row in enumerate(rows):
        top = LABEL + down * number
        draw.text((MARGIN / 2, top + CELL[1] / 2), row.label, "black", font, anchor="mm")
        for column, frame in enumerate(row.cells().values()):
            small = Image.fromarray(frame).resize(CELL, Image.Resampling.LANCZOS)
            sheet.paste(small, (MARGIN + across * column, top))
    sheet.save(path, optimize=True)
