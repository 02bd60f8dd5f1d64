"""Classifies each picture of a film by the one before it: motion, a cut, or the same picture again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eden_client.film.plan.cuts import detect_cuts
from eden_client.film.plan.differences import Step, steps
from eden_client.film.plan.timeline import Relation
from eden_client.film.read.film import Picture


def classify_transitions(
    pictures: Iterable[Picture], cut_sensitivity: float | None, duplicates: bool, threads: int = 1
) -> Iterator[tuple[Picture, Relation]]:
    """Each picture, and its relation to the one before it.

    cut_sensitivity   0 to 1 (cuts.py); None: do not look for cuts
    duplicates        whether to look for duplicates
    threads           threads that compare pictures
    """
    return classified(steps(pictures, cut_sensitivity is not None, duplicates, threads), cut_sensitivity, duplicates)


def classified(
    film: Iterable[Step], cut_sensitivity: float | None, duplicates: bool
) -> Iterator[tuple[Picture, Relation]]:
    """`classify_transitions`, for pictures that have been compared already."""
    found = ((step, False) for step in film) if cut_sensitivity is None else detect_cuts(film, cut_sensitivity)
    for step, is_cut in found:
        if is_cut:
            yield step.picture, Relation.CUT
        else:
            yield step.picture, Relation.DUPLICATE if duplicates and step.same else Relation.MOTION
