"""Fits chapters to a film: in order, inside the film, none of them empty, as every container takes them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container.core import Chapter

TICK = Fraction(1, 1000)
"""Seconds per unit of a chapter's times."""


def fitted(chapters: list[Chapter], start: Fraction, end: Fraction | None) -> list[Chapter]:
    """Chapters moved so that the file's time `start` becomes 0, then cut to between 0 and `end` (None: open).

    Times are in seconds. A chapter that ends before it begins lasts until the next one. Empty ones are left out.
    """
    last = None if end is None else int(end / TICK)
    spans = sorted((_ticks(c["start"], c, start), _ticks(c["end"], c, start), n) for n, c in enumerate(chapters))
    made: list[Chapter] = []
    for place, (opens, closes, number) in enumerate(spans):
        if closes <= opens:
            closes = next(
                (later for later, _, _ in spans[place + 1 :] if later > opens), closes if last is None else last
            )
        opens = max(opens, 0)
        closes = closes if last is None else min(closes, last)
        if closes > opens:
            chapter = chapters[number].copy()
            chapter["start"], chapter["end"], chapter["time_base"] = opens, closes, TICK
            made.append(chapter)
    return made


def _ticks(stamp: int, chapter: Chapter, start: Fraction) -> int:
    return round((stamp * (chapter["time_base"] or TICK) - start) / TICK)
