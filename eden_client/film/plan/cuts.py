"""Detects scene cuts: neighbouring pictures so different that no frame can be drawn between them.

A difference (differences.py, where fast motion hardly counts) is a cut only if it stands out among those before and
after it: then flicker, shaking and noise do not count either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from eden_client.film.plan.differences import STILL, Step

SENSITIVITY = 0.6
"""The default sensitivity, on a scale from 0 (hardly any difference is a cut) to 1 (nearly every one is)."""

_AROUND = 4
"""Steps before and after that are looked at: enough to find the last motion of an animation drawn on fours."""
_NEAREST = 2
"""Of these, how many with motion a cut is compared with, on each side."""
_ALONE = 2.5
"""Factor by which a difference must be larger where there is no other motion to compare with."""


def detect_cuts(steps: Iterable[Step], sensitivity: float) -> Iterator[tuple[Step, bool]]:
    """Each step of a film, and whether it is a cut. Reads four pictures ahead."""
    held: deque[Step] = deque()
    scores: deque[float] = deque()  # of held[0] and its neighbours: at most _AROUND before it, all that follow
    before = 0
    for step in steps:
        held.append(step)
        scores.append(_score(step))
        if len(held) > _AROUND:
            yield held.popleft(), is_cut(list(scores), before, sensitivity)
            before += 1
            if before > _AROUND:
                scores.popleft()
                before = _AROUND
    while held:
        yield held.popleft(), is_cut(list(scores), before, sensitivity)
        before += 1


def _score(step: Step) -> float:
    """A step's difference; 0 for a duplicate, whose difference is coding noise and no measure of motion."""
    return 0.0 if step.same and step.difference > STILL else step.difference


def is_cut(scores: list[float], at: int, sensitivity: float) -> bool:
    """Whether scores[at], in grey levels, stands out among its neighbours as a cut."""
    before = [score for score in scores[max(0, at - _AROUND) : at] if score > STILL][-_NEAREST:]
    after = [score for score in scores[at + 1 : at + 1 + _AROUND] if score > STILL][:_NEAREST]
    around = before + after
    least, ratio = 20 * (1 - sensitivity), 1 + 3.2 * (1 - sensitivity)
    if not around:
        return scores[at] > _ALONE * least
    return scores[at] > least and scores[at] > ratio * (sum(around) / len(around))
