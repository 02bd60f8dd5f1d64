"""Makes the same film in several ways: ffmpeg, all cores writing, the command without a model and with a server."""

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
"""Seconds between two looks at the memory of the processes.

A look costs 5 to 10 ms of a core per process, which cannot allocate memory meanwhile. Fifty looks per second used a
quarter of two cores.
"""


@dataclass(frozen=True)
class Film:
    """A film to double, and how it is encoded."""

    path: Path
    frames: int
    """of the source film"""
    preset: str


def ffmpeg(film: Film, folder: Path) -> dict[str, Any] | None:
    """Measure ffmpeg's own transcode to twice the frames; None: ffmpeg is not installed."""
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
    """Measure how fast all cores together encode segments; nothing is read meanwhile.

    Each segment consists of the film's first pictures, each twice: as it is, and converted from RGB. With `made`, it
    consists of the first pictures of that film, which was made of this one and may be easier or harder to encode.
    """
    segments = -(-2 * film.frames // LONGEST)
    with ProcessPoolExecutor(cores(), get_context("spawn"), _take, (film, folder, made)) as pool:
        list(pool.map(time.sleep, [0.2] * cores()))  # all are there, with their pictures, before the time counts
        seconds, counts = _timed(lambda: list(pool.map(_write, range(segments))))
    return {"frames": sum(counts), "seconds": seconds}


def alone(film: Film, folder: Path, memory: int) -> dict[str, Any]:
    """Measure the command with a server that answers at once. `memory`: bytes that it may use."""
    command = [sys.executable, "-m", "bench.film.alone", str(film.path), str(folder / "alone.mp4"), film.preset]
    return _watched([*command, str(CRF), str(memory)])


def served(film: Film, target: Path, memory: int, options: Sequence[str]) -> dict[str, Any]:
    """Measure the command with a real server, which `options` name; it makes `target`."""
    command = [sys.executable, "-m", "eden_client", str(film.path), str(target), "--json", "--overwrite"]
    command += ["--codec", "h264", "--crf", str(CRF), "--preset", film.preset, "--memory", str(memory)]
    return _watched([*command, *options])


def _watched(command: list[str]) -> dict[str, Any]:
    """Run a command that prints a film's summary. Returns its seconds with its start, and its peak memory in bytes.

    Raises SystemExit: the command failed.
    """
    with tempfile.TemporaryFile() as told:
        begun, peak = time.perf_counter(), 0
        with running(command, stdout=told) as process:
            while process.poll() is None:
                peak = max(peak, _memory(psutil.Process(process.pid)))
                with suppress(subprocess.TimeoutExpired):  # unlike a sleep, this returns as soon as the command ends
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
    """Bytes of memory of a process and its children; memory that they share counts once."""
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
"""What each process of `writing` needs: how to encode, where to, and the frames of a segment."""


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
