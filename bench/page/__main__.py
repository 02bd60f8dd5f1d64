"""Measures how long a visitor of the page waits for the frame between at the cursor, and for live pictures.

    python -m bench.page                     # the demo weights, by a server of its own on the CPU
    python weights/make_random.py run/published --published
    python -m bench.page --checkpoint run/published --precision bf16 --sizes 480x854 --rates 30 60
    python -m bench.page -- --server http://127.0.0.1:8080 --key-file FILE

A server of the fused topology is started, on all GPUs or on the CPU, unless options after -- name another. The page's
service is a process of its own; this process is the visitor. OUT.json and OUT.md are written after each row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from bench import machine
from bench.film import model
from bench.page import visits
from bench.strategies import film_frames
from media import encode_image, encode_video
from media.signals import exit_when_told_to
from server.settings import PROJECT

SECONDS = 5
"""Length of the film whose pairs are asked for, in seconds of `RATE` frames."""
RATE = 24
FORMATS = ("png", "jpeg")
QUALITY = 85
"""The JPEG quality of live pictures, as the page sends them."""


def measure(service: str, size: tuple[int, int], args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Measure previews in each format, and live pictures at each rate. Yields rows."""
    film = folder / f"{size[0]}x{size[1]}.mp4"
    encode_video(film_frames(SECONDS * RATE, *size), Fraction(RATE), film, crf=17)
    for format in FORMATS:
        taken = visits.previews(service, film, SECONDS - 0.1, args.pairs, format)
        yield {"size": size, "what": "preview", "format": format, **taken}
    pictures = [encode_image(frame, "jpeg", QUALITY) for frame in film_frames(2 * RATE, *size)]
    for rate in args.rates:
        yield {"size": size, "what": "live", **visits.live(service, pictures, rate, args.warm, args.seconds)}


def as_markdown(found: dict[str, Any]) -> str:
    """A table of previews, and one of live pictures."""
    lines = [
        f"{machine.line(found['machine'])}, {found['weights']}.",
        "",
        "| frames | the frame between, as | pairs | whole, ms: median (p95) | of it the EDEN server | all else |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        if row["what"] == "preview":
            times = [f"{row[name]['p50_ms']} ({row[name]['p95_ms']})" for name in ("whole", "server", "added")]
            lines.append(f"| {_size(row)} | {row['format']} | {row['whole']['count']} | {' | '.join(times)} |")
    lines += [
        "",
        "| frames | live, pictures sent per second | pairs per second | delay, ms: median (p95) |",
        "|---|---|---|---|",
    ]
    for row in found["rows"]:
        if row["what"] == "live":
            delay = f"{row['delay']['p50_ms']} ({row['delay']['p95_ms']})" if row["delay"] else ""
            lines.append(f"| {_size(row)} | {row['sent_s']:g} | {row['pairs_s']:.2f} | {delay} |")
    return "\n".join(lines) + "\n"


def _size(row: dict[str, Any]) -> str:
    return "x".join(map(str, row["size"]))


@contextlib.contextmanager
def _server(args: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """A running server. Yields the command's options that name it."""
    if args.command:
        yield args.command
        return
    devices = tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)
    with model.serving(model.Weights(args.checkpoint, args.precision, devices), folder) as options:
        yield options


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", default=["256x448"], metavar="HxW", help="frame sizes in pixels (default: 256x448)")
    add(
        "--rates",
        nargs="+",
        type=float,
        default=[2, 12],
        help="rates of the live camera, in pictures per second (default: 2 12)",
    )
    add("--pairs", type=int, default=30, help="pairs that are looked at, per size and format (default: %(default)s)")
    add("--seconds", type=float, default=20, help="seconds for which each rate is measured (default: %(default)s)")
    add("--warm", type=float, default=5, help="seconds of the same load before each measurement (default: %(default)s)")
    checkpoint = PROJECT / "weights" / "demo"
    add(
        "--checkpoint",
        type=lambda text: Path(text).absolute(),
        default=checkpoint,
        help="folder or file of the weights (default: %(default)s)",
    )
    add("--precision", default="fp32", help="fp32, tf32 or bf16 (default: %(default)s)")
    add(
        "--out",
        type=Path,
        default=Path("bench/results/page"),
        help="path of the results, without a suffix (default: %(default)s)",
    )
    add("command", nargs="*", help="options of eden-interpolate that name a server, after -- (default: one is started)")
    args = parser.parse_args()
    weights = "a server that was named" if args.command else f"{args.checkpoint.name}, {args.precision}"
    found: dict[str, Any] = {"machine": machine.describe(), "weights": weights, "rows": []}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="page-") as temporary:
        folder = Path(temporary)
        with _server(args, folder) as options, visits.service(folder, options) as service:
            for text in args.sizes:
                height, width = map(int, text.split("x"))
                for row in measure(service, (height, width), args, folder):
                    found["rows"].append(row)
                    print(json.dumps(row), flush=True)
                    args.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                    args.out.with_suffix(".md").write_text(as_markdown(found), encoding="utf-8")


if __name__ == "__main__":
    exit_when_told_to()
    main()
