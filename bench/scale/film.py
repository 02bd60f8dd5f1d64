"""Measures what a film costs besides drawing and encoding: planning it, and joining its segments."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from bench.strategies import film_frames
from eden_client.film.jobs import Planner
from eden_client.film.join.joining import MuxPlan, join
from eden_client.film.order import Order
from eden_client.film.plan.segmentation import LONGEST, Segmentation
from eden_client.film.plan.timeline import Multiply, plan
from eden_client.film.plan.transitions import classify_transitions
from eden_client.film.read.film import Picture
from eden_client.film.read.film_file import open_film_file
from eden_client.film.write.encoding import choose_encoding
from eden_client.film.write.results import FilmFrame, Timing
from eden_client.film.write.segment_encoder import SegmentEncoder, SegmentRecipe
from media import encode_video

RATE = Fraction(24)
TWICE = 2
"""Frames of the result per frame of the source."""


@dataclass(frozen=True)
class PlannerCost:
    """What planning costs the process that reads the source once and makes the jobs."""

    decode_cpu_s_per_frame: float
    """per frame of the source; up to eight threads decode side by side"""
    plan_cpu_s_per_frame: float
    """per frame of the source, all else: comparing pictures and planning; threads hardly share it (Python's lock)"""
    bytes_per_job: float
    frames_per_job: int
    """frames of the source, in all segments but a film's first and last ones"""


@dataclass(frozen=True)
class JoinCost:
    """What joining costs the process that makes one file of the segments."""

    cpu_s_per_frame: float
    """per frame of the result"""
    bytes_per_frame: float


def draw(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Write a film of `count` frames of `size` (H, W). Returns its path."""
    path = folder / f"{size[0]}x{size[1]}.mp4"
    encode_video(list(film_frames(count, *size)), RATE, path)
    return path


def planner(path: Path) -> PlannerCost:
    """Plan a film in one process, as the command does to double it; the jobs are dropped."""
    defaults = Order(str(path), "")
    with open_film_file(path) as film:
        segments = Segmentation(Fraction(TWICE), defaults.clip, film.look.size, film.expected)
        work = Planner(segments, frozenset())
        seen = work.seen(classify_transitions(_numbered(film.pictures()), defaults.cuts, True))
        before = time.process_time()
        jobs = list(work.jobs(plan(seen, Multiply(TWICE), 1, 1 / film.look.rate)))
        both = time.process_time() - before
    with open_film_file(path) as film:
        before = time.process_time()
        frames = sum(1 for _ in film.pictures())
        decoding = time.process_time() - before
    longest = max(jobs, key=lambda job: len(job.gaps))
    return PlannerCost(
        decode_cpu_s_per_frame=decoding / frames,
        plan_cpu_s_per_frame=(both - decoding) / frames,
        bytes_per_job=len(pickle.dumps(longest)),
        frames_per_job=len(longest.gaps),
    )


def _numbered(pictures: Iterator[Picture]) -> Iterator[Picture]:
    for number, picture in enumerate(pictures):
        picture.number = number
        yield picture


def joiner(path: Path, folder: Path, segments: int, preset: str) -> JoinCost:
    """Join so many segments of the film at `path`, of the usual length, to an MP4."""
    with open_film_file(path) as film:
        rate = TWICE * film.look.rate
        encoding, _ = choose_encoding(film.look, ".mp4", "h264", Order.crf, preset, None)
        recipe = SegmentRecipe(film.look, encoding, Timing(rate, 1 / rate, 1 / rate))
        pictures = list(islice(film.pictures(), LONGEST))
    written = []
    for number in range(segments):
        encoder = SegmentEncoder(recipe, folder / f"{number:06d}.nut")
        for place, picture in enumerate(pictures):
            frame = number * LONGEST + place
            encoder.write(FilmFrame(frame, frame / rate, picture))
        written.append(encoder.close())
    target = folder / "joined.mp4"
    before = time.process_time()
    join(written, MuxPlan(encoding, recipe.result(), recipe.timing.tick, recipe.timing.last_duration), target)
    cpu = time.process_time() - before
    frames, size = sum(each.count for each in written), target.stat().st_size
    for made in (target, *(each.path for each in written)):
        made.unlink()
    return JoinCost(cpu / frames, size / frames)


def measure(folder: Path, size: tuple[int, int], frames: int, segments: int, preset: str) -> dict[str, Any]:
    """Measure planning and joining, for a film with pictures of `size` (H, W)."""
    path = draw(folder, size, frames)
    return {"planner": asdict(planner(path)), "join": asdict(joiner(path, folder, segments, preset))}
