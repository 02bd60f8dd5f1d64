"""Measures how fast the command makes a film, beside what the same machine could do.

    python -m bench.film     # without a model: ffmpeg, all cores writing, the client alone
    python weights/make_random.py run/published --published
    python -m bench.film --checkpoint run/published --precision bf16 --presets medium veryfast   # and all with it
    python -m bench.film -- --server http://127.0.0.1:8080 --key-file FILE
    python -m bench.film --checkpoint weights/demo --sizes 480x854 --frames 7500 --rows engine served written

ffmpeg    ffmpeg's own transcode to twice the frames
writing   all cores encode at once, and nothing is read
alone     the command, with a server that answers at once
engine    the model in this process
served    the command, with a server of the model
written   as `writing`, with the frames that the server drew

With a checkpoint, the model is measured in this process, and then the command with a server of the fused topology that
is started for it, on all GPUs or else on the CPU. Weights of random values draw noise, which takes an encoder several
times as long as film; what weights/demo draws looks like film. Options after -- go to the command, which then asks the
server that they name. OUT.json, OUT.md and OUT.png are written after each row.
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
"""What is measured, in this order, by its name in --rows. `written` needs the film that `served` made."""
COMPILED = ("eden_client", "media", "bench")
"""The packages of which the command and this program consist."""
ENGINE_S = 3.0
"""Seconds for which the model is measured in this process."""


class Run:
    """The measurements that the options ask for, and the results so far."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.weights: model.Weights | None = None
        if args.checkpoint:
            self.weights = model.Weights(args.checkpoint, args.precision, args.devices)
        self.found: dict[str, Any] = {"machine": machine.describe(), "memory": args.memory, "rows": []}
        self.found["weights"] = args.checkpoint.name if args.checkpoint else None

    def all(self) -> None:
        """Make the measurements; first those that need no server, which would use some of the cores."""
        for (
            package
        ) in COMPILED:  # as an installed command is; else each start might compile it (PYTHONDONTWRITEBYTECODE)
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
        """Whether one of these rows is asked for."""
        return any(row in self.args.rows for row in rows)

    def without_server(self, size: str, film: ways.Film) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name and the result of each measurement that needs no server."""
        if self.wants("ffmpeg") and (measured := ways.ffmpeg(film, self.folder)) is not None:
            yield ROWS["ffmpeg"], measured
        if self.wants("writing"):
            yield ROWS["writing"], ways.writing(film, self.folder)
        if self.wants("alone"):
            yield ROWS["alone"], ways.alone(film, self.folder, self.args.memory)
        if self.wants("engine") and self.weights:
            yield ROWS["engine"], self.engine(size)

    def engine(self, size: str) -> dict[str, Any]:
        """Measure the model in this process, once per size."""
        assert self.weights
        for row in self.found["rows"]:
            if (row["size"], row["way"]) == (size, "engine"):
                return {key: row[key] for key in ("frames", "seconds", "batch")}
        height, width = map(int, size.split("x"))
        return model.engine(self.weights, (height, width), ENGINE_S)

    @contextlib.contextmanager
    def server(self) -> Iterator[list[str]]:
        """A running server. Yields the command's options that name it; empty: there is none."""
        if self.args.command or not self.weights:
            yield self.args.command
        else:
            with model.serving(self.weights, self.folder) as options:
                yield options

    def add(self, size: str, film: ways.Film, way: str, measured: dict[str, Any]) -> None:
        """Print a row of results, and write all results so far."""
        row = {"size": size, "preset": film.preset, "way": way, **measured}
        print(json.dumps(row), flush=True)
        self.found["rows"].append(row)
        report.write(self.args.out, self.found)


def main() -> None:
    devices = tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)
    parser = argparse.ArgumentParser(
        prog="python -m bench.film", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", default=SIZES, metavar="HxW", help=f"frame sizes in pixels (default: {' '.join(SIZES)})")
    add("--presets", nargs="+", default=PRESETS, help=f"libx264's presets (default: {' '.join(PRESETS)})")
    add(
        "--frames",
        nargs="+",
        type=int,
        default=[480, 120],
        help="frames of the source, for each size (default: 480 120)",
    )
    add("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="measurements to make: see above (default: all)")
    add("--memory", type=int, default=2 << 30, help="bytes of memory that the command may use (default: 2 GiB)")
    add(
        "--checkpoint",
        type=lambda text: Path(text).absolute(),
        help="weights with which the model is measured too (default: none)",
    )
    add("--precision", default="fp32", help="fp32, tf32 or bf16 (default: %(default)s)")
    add("--devices", nargs="+", type=str, default=devices, help=f"devices of the model (default: {' '.join(devices)})")
    out = Path("bench/results/film-cpu")
    add("--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)")
    add("command", nargs="*", help="options of eden-interpolate that name a server, after --")
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
