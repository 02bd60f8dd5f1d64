"""How fast the command makes a film, in one run on one machine.

    python -m bench.film     # without a server: ffmpeg, all cores writing, the client alone
    python -m bench.film --sizes 480x854 --presets medium veryfast -- --server http://127.0.0.1:8080 --key-file FILE

What follows -- goes to the command: a server is then asked too. OUT.json and OUT.md are written anew after each row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench import machine
from bench.film import ways
from bench.film.report import markdown
from bench.strategies import film_frames
from media import encode_video

SIZES = ("480x854", "1080x1920")
PRESETS = ("medium", "ultrafast")
RATE = Fraction(24)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.film", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", nargs="+", default=SIZES, metavar="HxW")
    add("--presets", nargs="+", default=PRESETS)
    add("--frames", nargs="+", type=int, default=[480, 120], help="of the source, for each size (default: 480 120)")
    add("--memory", type=int, default=2 << 30, help="bytes that the command may take (default: 2 GiB)")
    add("--out", type=Path, default=Path("bench/results/film-cpu"))
    add("command", nargs="*", help="after --: options of eden-interpolate that name a server")
    args = parser.parse_args()
    found: dict[str, Any] = {"machine": machine.describe(), "memory": args.memory, "rows": []}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    frames = dict(zip(args.sizes, args.frames * len(args.sizes), strict=False))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in args.sizes:
            path = _drawn(folder, size, frames[size])
            for preset in args.presets:
                film = ways.Film(path, frames[size], preset)
                for way, measured in _measured(film, folder, args.memory, args.command):
                    row = {"size": size, "preset": preset, "way": way, **measured}
                    print(json.dumps(row), flush=True)
                    found["rows"].append(row)
                    args.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                    args.out.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


def _measured(film: ways.Film, folder: Path, memory: int, command: list[str]) -> Any:
    if (measured := ways.ffmpeg(film, folder)) is not None:
        yield "ffmpeg", measured
    yield "all cores writing", ways.writing(film, folder)
    yield "client alone", ways.alone(film, folder, memory)
    if command:
        yield "served", ways.served(film, folder, memory, command)


def _drawn(folder: Path, size: str, count: int) -> Path:
    height, width = map(int, size.split("x"))
    path = folder / f"{size}.mp4"
    encode_video(list(film_frames(count, height, width)), RATE, path)
    return path


if __name__ == "__main__":
    main()
