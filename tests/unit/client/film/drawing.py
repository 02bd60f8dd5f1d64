"""A client without a server, for any process, and a report that says nothing."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np

from eden_client.api.regions import Region
from eden_client.api.traffic import Traffic
from eden_client.film.plan.scouting import ScoutJob


class Gone(Exception):
    """The run ends here."""


class Drawing:
    """Blends two frames. Goes away before the pair number `lasts`.

    killed   a folder: the first process that gets as far as its fifth pair is killed, and leaves a file there
    noted    a journal: whoever is to go away waits until the film's first segment is noted there
    """

    window, seed, on_trouble, takes_planes, trace = 3, 0, None, True, None

    def __init__(self, lasts: int | None = None, killed: Path | None = None, noted: Path | None = None) -> None:
        self.traffic, self.pairs, self.lasts, self.killed = Traffic(), itertools.count(), lasts, killed
        self.noted = noted

    def between(self, frames, yuv=None):
        for left, right in itertools.pairwise(frames):
            number = next(self.pairs)
            if self.lasts is not None and number >= self.lasts:
                self.wait_until_noted()
                raise Gone
            if self.killed is not None and number == 4:
                self.kill_the_first()
            self.traffic.add(pairs=1)
            yield ((left.astype(int) + right) // 2).astype(np.uint8)

    def wait_until_noted(self):
        while self.noted and not (self.noted.exists() and '"number": 0,' in self.noted.read_text()):
            time.sleep(0.01)

    def kill_the_first(self):
        try:
            (self.killed / "by whom").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Deadly(ScoutJob):
    """Kills the process that does it."""

    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Sharing(Drawing):
    """Shares memory with its server all the time, in a folder; says beside that folder, when it draws, that it did."""

    def __init__(self, folder: Path, lasts: int | None = None) -> None:
        super().__init__(lasts)
        self.folder, self.region = folder, Region(folder, 1 << 20)

    def between(self, frames, yuv=None):
        assert (self.folder / self.region.name).exists()
        (self.folder.parent / "shared").touch()
        yield from super().between(frames, yuv)


class Silent:
    """A report that takes down its notes, and what it was told last: of how many frames, and of which limit."""

    def __init__(self):
        self.notes, self.frames, self.limit = [], 0, None

    def begin(self, source, expected, done): ...

    def note(self, text):
        self.notes.append(text)

    def progress(self, frames, limit, drawn):
        self.frames, self.limit = frames, limit
