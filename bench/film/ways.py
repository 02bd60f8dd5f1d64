"""The ways to the same film: ffmpeg, all cores writing, the command without a model, the command with a server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.processes import running
from eden_client.film.plan.segmentation import LONGEST
from eden_client.film.read.film_file import open_film_file
from eden_client.film.write.encoding import choose_encoding
from eden_client.film.write.results import FilmFrame, Timing
from eden_client.film.write.segment_encoder import SegmentEncoder, SegmentRecipe
from media.machine import cores

T = TypeVar("T")

CRF = 17
EVERY = 0.5
"""Seconds between two looks at what the processes hold. To look costs a core 5 to 10 ms per process, and they cannot
take memory meanwhile: fifty times a second took a quarter of what two cores had for the film."""


@dataclass(frozen=True)
class Film:
    """A film to double, and how it is encoded."""

    path: Path
    frames: int
    """of the source"""
    preset: str


def ffmpeg(film: Film, folder: Path) -> dict[str, Any] | None:
    """ffmpeg's own transcode to twice the frames; None where there is no ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    with open_film_file(film.path) as source:
        rate = 2 * source.look.rate
    command = [program, "-v", "error", "-y", "-i", str(film.path), "-vf", f"fps={rate}", "-c:v", "libx264"]
    command += ["-crf", str(CRF), "-preset", film.preset, str(folder / "ffmpeg.mp4")]
    seconds, _ = _timed(lambda: subprocess.run(command, check=True))
    return {"frames": 2 * film.frames, "seconds": seconds}


def writing(film: Film, folder: Path, made: Path | None = None) -> dict[str, Any]:
    """All cores write segments; nothing is read.

    Of the film's first pictures, each as it is and once from RGB; or of those of the film that was `made` of it, whose
    new frames may be easier or harder to encode.
    """
    segments = -(-2 * film.frames // LONGEST)
    with ProcessPoolExecutor(cores(), get_context("spawn"), _take, (film, folder, made)) as pool:
        list(pool.map(time.sleep, [0.2] * cores()))  # all are there, with their pictures, before the time counts
        seconds, counts = _timed(lambda: list(pool.map(_write, range(segments))))
    return {"frames": sum(counts), "seconds": seconds}


def alone(film: Film, folder: Path, memory: int) -> dict[str, Any]:
    """The command with a server that answers at once."""
    command = [sys.executable, "-m", "bench.film.alone", str(film.path), str(folder / "alone.mp4"), film.preset]
    return _watched([*command, str(CRF), str(memory)])


def served(film: Film, target: Path, memory: int, options: Sequence[str]) -> dict[str, Any]:
    """The command with a server makes `target`; `options` say which, and how it is asked."""
    command = [sys.executable, "-m", "eden_client", str(film.path), str(target), "--json", "--overwrite"]
    command += ["--codec", "h264", "--crf", str(CRF), "--preset", film.preset, "--memory", str(memory)]
    return _watched([*command, *options])


def _watched(command: list[str]) -> dict[str, Any]:
    """What a command that prints a film's summary took: with its start, and the memory of all its processes at most."""
    with tempfile.TemporaryFile() as told:
        begun, peak = time.perf_counter(), 0
        with running(command, stdout=told) as process:
            while process.poll() is None:
                peak = max(peak, _memory(psutil.Process(process.pid)))
                with suppress(subprocess.TimeoutExpired):  # its end is not slept past: that would count as its time
                    process.wait(EVERY)
        seconds = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(f"{' '.join(command[:4])} ended with {process.returncode}")
        told.seek(0)
        summary = json.loads(told.read().splitlines()[-1])
    return {
        "frames": summary["frames_out"],
        "seconds": seconds,
        "peak_bytes": peak,
        "stages": summary["seconds"],
        "pairs": summary["traffic"]["pairs"],
    }


def _memory(process: psutil.Process) -> int:
    """Bytes of a process and its children; what they share counts once."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    except psutil.Error:  # one has just ended
        pass
    return total


def _timed(run: Callable[[], T]) -> tuple[float, T]:
    begun = time.perf_counter()
    came = run()
    return time.perf_counter() - begun, came


_given: tuple[SegmentRecipe, Path, list[FilmFrame]]
"""What a process of `writing` works with: how, where, and the frames of one segment."""


def _take(film: Film, folder: Path, made: Path | None) -> None:
    global _given
    with open_film_file(film.path) as source:
        rate = 2 * source.look.rate
        encoding, _ = choose_encoding(source.look, ".mp4", "h264", CRF, film.preset, None)
        recipe = SegmentRecipe(source.look, encoding, Timing(rate, 1 / rate, 1 / rate))
        pictures = [] if made else list(islice(source.pictures(), LONGEST // 2))
    if made:
        with open_film_file(made) as result:
            frames = [FilmFrame(0, Fraction(0), each) for each in islice(result.pictures(), LONGEST)]
    else:  # converted now, not while the time counts
        twice = [(FilmFrame(0, Fraction(0), each), FilmFrame(0, Fraction(0), None, each.pixels)) for each in pictures]
        frames = [frame for both in twice for frame in both]
    _given = recipe, folder, [replace(frame, number=n, time=n / rate) for n, frame in enumerate(frames)]


def _write(number: int) -> int:
    recipe, folder, frames = _given
    encoder = SegmentEncoder(recipe, folder / f"{number}.nut")
    for frame in frames:
        encoder.write(frame)
    count = encoder.close().count
    (folder / f"{number}.nut").unlink()
    return count
