"""How fast the command makes a film, in one run on one machine.

    python -m bench.film     # without a model: ffmpeg, all cores writing, the client alone
    python weights/make_random.py run/published --published
    python -m bench.film --checkpoint run/published --precision bf16 --presets medium veryfast   # and all with it
    python -m bench.film -- --server http://127.0.0.1:8080 --key-file FILE
    python -m bench.film --checkpoint weights/demo --sizes 480x854 --frames 7500 --rows engine served written

With a checkpoint the model is measured in process, and then by a server of its own of the fused topology, on all GPUs,
else on the CPU. What random values draw is noise, which takes an encoder several times as long as film does; what
weights/demo draws looks like film. What follows -- goes to the command, whose server is then asked instead. OUT.json,
OUT.md and OUT.png are written anew after each row.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from bench import machine
from bench.film import model, report, ways
from bench.strategies import film_frames
from media import encode_video
from media.signals import exit_when_told_to
from server.settings import PROJECT

SIZES = ("480x854", "1080x1920")
PRESETS = ("medium", "ultrafast")
RATE = Fraction(24)
ROWS = {
    "ffmpeg": "ffmpeg",
    "writing": "all cores writing",
    "alone": "client alone",
    "engine": "engine",
    "served": "served",
    "written": report.DRAWN,
}
"""What is measured, in this order, by the name that --rows has for it. `written` needs what is served."""
COMPILED = ("eden_client", "media", "bench")
"""What the command consists of here."""
ENGINE_S = 3.0
"""For how long the model is measured in process."""


class Run:
    """What is measured, and what was found so far."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.weights: model.Weights | None = None
        if args.checkpoint:
            self.weights = model.Weights(args.checkpoint, args.precision, args.devices)
        self.found: dict[str, Any] = {"machine": machine.describe(), "memory": args.memory, "rows": []}
        self.found["weights"] = args.checkpoint.name if args.checkpoint else None

    def all(self) -> None:
        """Everything: first what needs no server, since that would take some of the cores."""
        for package in COMPILED:  # as where it is installed; else each start might do it (PYTHONDONTWRITEBYTECODE)
            compileall.compile_dir(PROJECT / package, quiet=1)
        lengths = dict(zip(self.args.sizes, self.args.frames * len(self.args.sizes), strict=False))
        films = [
            (size, ways.Film(path, lengths[size], preset))
            for size in self.args.sizes
            for path in [_drawn(self.folder, size, lengths[size])]
            for preset in self.args.presets
        ]
        for size, film in films:
            for way, measured in self.without_server(size, film):
                self.add(size, film, way, measured)
        if not self.wants("served", "written"):
            return
        made = {film: self.folder / f"{number}.mp4" for number, (_, film) in enumerate(films)}
        with self.server() as command:
            if not command:
                return
            for size, film in films:
                self.add(size, film, ROWS["served"], ways.served(film, made[film], self.args.memory, command))
        for size, film in films if self.wants("written") else []:  # without the server, which might take some cores
            self.add(size, film, ROWS["written"], ways.writing(film, self.folder, made[film]))

    def wants(self, *rows: str) -> bool:
        """Whether one of these is asked for."""
        return any(row in self.args.rows for row in rows)

    def without_server(self, size: str, film: ways.Film) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each way's name, and what it took."""
        if self.wants("ffmpeg") and (measured := ways.ffmpeg(film, self.folder)) is not None:
            yield ROWS["ffmpeg"], measured
        if self.wants("writing"):
            yield ROWS["writing"], ways.writing(film, self.folder)
        if self.wants("alone"):
            yield ROWS["alone"], ways.alone(film, self.folder, self.args.memory)
        if self.wants("engine") and self.weights:
            yield ROWS["engine"], self.engine(size)

    def engine(self, size: str) -> dict[str, Any]:
        """The model in process, measured once per size."""
        assert self.weights
        for row in self.found["rows"]:
            if (row["size"], row["way"]) == (size, "engine"):
                return {key: row[key] for key in ("frames", "seconds", "batch")}
        height, width = map(int, size.split("x"))
        return model.engine(self.weights, (height, width), ENGINE_S)

    @contextlib.contextmanager
    def server(self) -> Iterator[list[str]]:
        """The command's options that name a server; none where there is none to be asked."""
        if self.args.command or not self.weights:
            yield self.args.command
        else:
            with model.serving(self.weights, self.folder) as options:
                yield options

    def add(self, size: str, film: ways.Film, way: str, measured: dict[str, Any]) -> None:
        """Print a row, and write what there is."""
        row = {"size": size, "preset": film.preset, "way": way, **measured}
        print(json.dumps(row), flush=True)
        self.found["rows"].append(row)
        report.write(self.args.out, self.found)


def main() -> None:
    devices = tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)
    parser = argparse.ArgumentParser(prog="python -m bench.film", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", nargs="+", default=SIZES, metavar="HxW")
    add("--presets", nargs="+", default=PRESETS)
    add("--frames", nargs="+", type=int, default=[480, 120], help="of the source, for each size (default: 480 120)")
    add("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what is measured (default: all)")
    add("--memory", type=int, default=2 << 30, help="bytes that the command may take (default: 2 GiB)")
    add("--checkpoint", type=lambda text: Path(text).absolute(), help="the model is measured too, with these weights")
    add("--precision", default="fp32")
    add("--devices", nargs="+", type=str, default=devices, help=f"of the model (default: {' '.join(devices)})")
    add("--out", type=Path, default=Path("bench/results/film-cpu"))
    add("command", nargs="*", help="after --: options of eden-interpolate that name a server")
    args = parser.parse_args()
    args.devices = tuple(args.devices)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        Run(args, Path(name)).all()


def _drawn(folder: Path, size: str, count: int) -> Path:
    height, width = map(int, size.split("x"))
    path = folder / f"{size}.mp4"
    encode_video(list(film_frames(count, height, width)), RATE, path)
    return path


if __name__ == "__main__":
    exit_when_told_to()
    main()
