"""Makes small films by the command, as users do, and compares them with what the server drew while it was idle."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from bench.soak.calls import Clip, difference
from bench.soak.record import Record
from server import Server
from server.settings import PROJECT

RATE = Fraction(24)
TIMES = 6
"""How often the film shows the clip, each time forwards and then backwards."""
WAYS = (
    ("auto", "--strategy", "streaming"),
    ("workflow", "--strategy", "batch", "--clip", "4"),
    ("chain", "--strategy", "streaming", "--transport", "npy"),
)
"""The route and the other options of the command; each film takes the next row."""
LONGEST_S = 600.0
"""Seconds that a film may take."""


class Films:
    """Makes films of one clip, each by the next row of `WAYS`."""

    def __init__(self, server: Server, folder: Path, clip: Clip, record: Record) -> None:
        self._server, self._folder, self._record = server, folder, record
        there = list(clip.frames) + list(clip.frames[-2:0:-1])
        pairs = {(a.tobytes(), b.tobytes()): between for a, b, between in _pairs(clip)}
        self._frames = there * TIMES
        self._between = [
            pairs.get((first.tobytes(), second.tobytes())) for first, second in itertools.pairwise(self._frames)
        ]
        self._source = folder / "film.mkv"
        _write(self._source, self._frames)
        self._ways = itertools.cycle(WAYS)

    def make(self) -> None:
        """Make one film. What is wrong with it is recorded as a fault."""
        route, *options = next(self._ways)
        what, target = f"{route}, film", self._folder / "between.mkv"
        server = ["--server", self._server.url, "--management", self._server.management_url]
        server += ["--key-file", str(self._server.tokens.path), "--route", route]
        plain = ["--cuts", "off", "--duplicates", "off", "--processes", "1", "--overwrite", "--plain"]
        command = [sys.executable, "-m", "eden_client", str(self._source), str(target), *server, *plain, *options]
        since = self._record.now()
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=LONGEST_S)
        if ran.returncode:
            self._record.add_fault(what, f"the command ended with {ran.returncode}: {ran.stderr[-1500:]}")
            return
        made = _read(target)
        if wrong := self._wrong(made):
            self._record.add_fault(what, f"a wrong film: {wrong}")
        else:
            self._record.add_good(what, since)

    def _wrong(self, made: list[np.ndarray]) -> str | None:
        if len(made) != 2 * len(self._frames) - 1:
            return f"{len(made)} frames of {len(self._frames)}"
        if wrong := difference(np.stack(made[::2]), np.stack(self._frames)):
            return f"the source's frames: {wrong}"
        drawn = [(got, wanted) for got, wanted in zip(made[1::2], self._between, strict=True) if wanted is not None]
        got, wanted = (np.stack(each) for each in zip(*drawn, strict=True))
        return difference(got, wanted)


def _pairs(clip: Clip) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return list(zip(clip.frames[:-1], clip.frames[1:], clip.between, strict=True))


def _write(path: Path, frames: list[np.ndarray]) -> None:
    """Write a film of frames [H, W, 3], without loss."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        film.mux(stream.encode(None))


def _read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
