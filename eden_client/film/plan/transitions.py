"""What each picture of a film is to the one before it: motion, a cut, or the same picture again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eden_client.film.plan import cuts
from eden_client.film.plan.duplicates import is_same
from eden_client.film.plan.timeline import Relation
from eden_client.film.read.film import Picture


def classify_transitions(
    pictures: Iterable[Picture], cut_sensitivity: float | None, duplicates: bool
) -> Iterator[tuple[Picture, Relation]]:
    """Each picture and its relation to the one before; None and False leave cuts and duplicates undetected."""
    before: Picture | None = None
    found = (
        ((each, False) for each in pictures) if cut_sensitivity is None else cuts.detect_cuts(pictures, cut_sensitivity)
    )
    for picture, is_cut in found:
        if is_cut:
            relation = Relation.CUT
        elif duplicates and before is not None and is_same(before, picture):
            relation = Relation.DUPLICATE
        else:
            relation = Relation.MOTION
        yield picture, relation
        before = picture
