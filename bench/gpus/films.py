"""Measures films on a Ray cluster: each node has one GPU of this machine, and an engine on it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import psutil

from bench.capacity.samples import Gpus
from bench.cluster.nodes import Node, Nodes, Share
from bench.film.alone import Silent
from bench.film.instant import instant_client
from bench.processes import running
from bench.strategies import film_frames
from eden_client.film.cluster.engine import EngineChoice
from eden_client.film.cluster.ray_cluster import RayCluster
from eden_client.film.order import Order
from eden_client.film.resume_journal import parts_folder
from eden_client.film.run import interpolate_film
from media import encode_video
from server.settings import PROJECT

RATE = Fraction(24)
CRF = 17
CLIP = 16
WARM = 240
"""Most frames of the film that warms the engines up."""
STORE = 2 << 30
"""Bytes of each node's object store."""
PATIENCE = 180.0
"""Seconds that a cluster may take to be ready."""
EVERY = 0.1
"""Seconds between two looks at the films' journals."""


@dataclass(frozen=True)
class Drawn:
    """A film to double."""

    path: Path
    frames: int
    warm: Path
    """a film of its beginning, to warm up with"""


def draw(folder: Path, size: str, frames: int) -> Drawn:
    """Write films of `size` (HxW), with so many frames."""
    height, width = map(int, size.split("x"))
    path, warm = folder / f"{size}.mp4", folder / f"{size}-warm.mp4"
    for each, count in ((path, frames), (warm, min(frames, WARM))):
        encode_video(list(film_frames(count, height, width)), RATE, each)
    return Drawn(path, frames, warm)


def engine(checkpoint: Path, precision: str, lanes: int) -> EngineChoice:
    """The engine that the commands ask for, with so many segments at once (`lanes`)."""
    return EngineChoice(str(checkpoint), precision, seed=0, window=2, lanes=lanes)


class Cluster:
    """A node for each share of the machine. This process starts their engines and keeps them, ready for commands."""

    def __init__(self, shares: Sequence[Share], engine: EngineChoice, film: Drawn, folder: Path) -> None:
        self._shares, self._engine, self._film, self._folder = shares, engine, film, folder
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            nodes = opened.enter_context(Nodes({"PYTHONPATH": _path()}, STORE))
            self._nodes: list[Node] = [nodes.start_head(self._shares[0]), *map(nodes.add, self._shares[1:])]
            self._address = nodes.address
            holder = RayCluster(nodes.address, Never(), self._engine)
            opened.callback(holder.close)
            self._ready(holder)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _ready(self, holder: RayCluster) -> None:
        """Wait until every engine has drawn frames. Raises TimeoutError."""
        deadline, count = time.monotonic() + PATIENCE, len(self._shares)
        while len(holder.nodes()) < count:
            _wait(deadline)
        self._warm(holder)
        assert holder._engines
        while len(holder._engines._ready) < count:
            _wait(deadline)
        self._warm(holder)

    def _warm(self, holder: RayCluster) -> None:
        order = Order(str(self._film.warm), str(self._folder / "warm.mp4"), clip=CLIP, codec="h264", overwrite=True)
        interpolate_film(order, instant_client(), Silent(), None, holder)

    def measure(self, preset: str, commands: int, most: float) -> dict[str, Any]:
        """Double as many films as there are GPUs, by a command for each film or by one for all of them.

        most   seconds after which the commands are ended; the row then counts what they have done

        Raises RuntimeError: a command failed.
        """
        count, here = len(self._shares), Path(tempfile.mkdtemp(dir=self._folder))
        folder, into = here / "in", here / "out"
        folder.mkdir()
        into.mkdir()
        sources = [folder / f"{number}.mp4" for number in range(count)]
        for source in sources:
            os.link(self._film.path, source)
        progress = Progress([into / source.name for source in sources], 2 * self._film.frames - 1)
        options = ["--ray", self._address, "--engine", self._engine.checkpoint]
        options += ["--engine-precision", self._engine.precision, "--strategy", "batch", "--clip", str(CLIP)]
        options += ["--codec", "h264", "--crf", str(CRF), "--preset", preset, "--overwrite", "--plain"]
        called = [sys.executable, "-m", "eden_client"]
        if commands == count:
            calls = [
                [*share.command(), *called, str(source), str(into / source.name), *options]
                for share, source in zip(self._shares, sources, strict=True)
            ]
        else:
            calls = [[*called, str(folder), f"{into}/", *options]]
        with ExitStack() as stack, (here / "told").open("w+") as told:
            gpus = stack.enter_context(Gpus())
            started = time.monotonic()
            processes = [stack.enter_context(running(call, cwd=PROJECT, stdout=told, stderr=told)) for call in calls]
            while not progress.look() and all(each.poll() is None for each in processes):
                time.sleep(EVERY)
            before, unix, began = self._cpu([each.pid for each in processes]), time.time(), time.monotonic()
            first = progress.frames
            while progress.look() < progress.expected and time.monotonic() - started < most:
                if any(each.poll() for each in processes):
                    told.seek(0)
                    raise RuntimeError(f"a command failed: {told.read()[-2000:]}")
                time.sleep(EVERY)
            seconds, after = time.monotonic() - began, self._cpu([each.pid for each in processes])
            busy = gpus.between(unix, time.time())
        used = {name: (after[name] - before[name]) / seconds for name in before if name in after}
        of_commands = [value for name, value in used.items() if name != "nodes"]
        return {
            "part": "films",
            "gpus": count,
            "preset": preset,
            "commands": len(calls),
            "pairs_s": (progress.frames - first) / 2 / seconds,
            "seconds": seconds,
            "frames": progress.frames - first,
            "whole": progress.frames == progress.expected,
            "first_segment_s": began - started,
            "node_cores": used["nodes"],
            "busiest_command_cores": max(of_commands, default=None),
            "gpu_busy": [busy[f"gpu{number}_busy"] for number in range(count) if f"gpu{number}_busy" in busy],
        }

    def _cpu(self, commands: Sequence[int]) -> dict[str, float]:
        """Seconds of processor time so far: of all `nodes`, and of each command that still runs, by process id."""
        found = {"nodes": sum(_seconds(each) for node in self._nodes for each in node.processes())}
        for pid in commands:
            with suppress(psutil.NoSuchProcess):
                found[str(pid)] = _seconds(psutil.Process(pid))
        return found


class Never:
    """Makes the clients of nodes, of which none is asked for: the engines draw."""

    def __call__(self, number: int) -> Any:
        raise AssertionError("a node asked for a client, though it has an engine")


class Progress:
    """How many frames of some films are finished, as their journals say.

    frames  of each finished film
    """

    def __init__(self, targets: Sequence[Path], frames: int) -> None:
        self._each, self._frames = dict.fromkeys(targets, 0), frames
        self.expected = frames * len(targets)

    @property
    def frames(self) -> int:
        """Finished frames of all films, at the last look."""
        return sum(self._each.values())

    def look(self) -> int:
        """Read the journals. Returns the finished frames of all films."""
        for target in self._each:
            if target.exists():
                self._each[target] = self._frames
                continue
            with suppress(FileNotFoundError):  # not begun, or just done
                told = json.loads((parts_folder(target) / "journal.json").read_text())
                self._each[target] = sum(entry["frames"] for entry in told["segments"])
        return self.frames


def _path() -> str:
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))


def _seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"the cluster is not ready after {PATIENCE:g} s")
    time.sleep(EVERY)
