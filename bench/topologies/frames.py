"""Draws the frames of each kind of work once, into files that every measuring process reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.topologies.plan import Work
from loadtest._film import Film, Scene

STARTS = 8
"""Number of different clips of each kind of work; neighbouring ones share frames."""


@dataclass(frozen=True)
class Body:
    """A request's body in a file, so that every process can read it."""

    path: Path
    content_type: str


def draw(work: Work, folder: Path) -> None:
    """Write the frames of a kind of work and the bodies of its requests."""
    film = Film.draw(Scene(1, *work.size), work.clip + STARTS - 1, work.format)
    np.save(folder / f"{work.file}.npy", np.stack(film.frames))
    for number, clip in enumerate(film.clips(work.clip, STARTS)):
        (folder / f"{work.file}.{number}.body").write_bytes(clip.body)
        (folder / f"{work.file}.{number}.type").write_text(clip.content_type)


def frames(work: Work, folder: Path) -> np.ndarray:
    """All frames that were drawn, [K + STARTS - 1, H, W, 3] uint8."""
    drawn: np.ndarray = np.load(folder / f"{work.file}.npy")
    return drawn


def starts(work: Work, number: int) -> list[int]:
    """The indices of the frames with which the clips of batch `number` begin."""
    return [(number * work.batch + each) % STARTS for each in range(work.batch)]


def bodies(work: Work, folder: Path) -> list[Body]:
    """The bodies of the requests of a kind of work."""
    paths = [folder / f"{work.file}.{number}.body" for number in range(STARTS)]
    return [Body(path, path.with_suffix(".type").read_text()) for path in paths]
