"""Compares streaming and batch on a film through a real TorchServe: transfers, delay, memory, recovery from errors.

    python -m bench.strategies [--film FILM] [--output FOLDER]

Starts a server with the archives in model_store/, runs the command as a user would, and writes
bench/results/strategies.json, with a table of it (.md).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import machine
from bench.processes import running
from eden_client.api.routes import DECODER
from eden_client.cli.demo_clip import draw_clip
from media import encode_video
from media.signals import exit_when_told_to
from server import Server
from server.settings import PROJECT

RESULTS = Path(__file__).parent / "results"
WAYS = {
    "streaming, workflow": ["--strategy", "streaming", "--workflow"],
    "batch of 16, workflow": ["--strategy", "batch", "--clip", "16", "--workflow"],
    "streaming, chain": ["--strategy", "streaming", "--chain"],
    "batch of 16, chain": ["--strategy", "batch", "--clip", "16", "--chain"],
}


def film_frames(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """`count` frames of the demo clip, [height, width, 3], played forwards and backwards in turn."""
    clip = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in draw_clip()
    ]
    there_and_back = clip + clip[-2:0:-1]
    return (there_and_back[i % len(there_and_back)] for i in range(count))


def run(
    server: Server, film: Path, target: Path, options: list[str], midway: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Run the command. Returns its summary, with `peak_bytes`. `midway` is called once a segment is finished."""
    command = [sys.executable, "-m", "eden_client", str(film), str(target), "--json", "--overwrite", *options]
    command += ["--server", server.url, "--management", server.management_url, "--key-file", str(server.tokens.path)]
    peak, journal, before = 0, target.with_name(f"{target.name}.parts") / "journal.json", True
    with tempfile.TemporaryFile("w+") as out, running(command, stdout=out) as process:
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            if before and journal.exists() and json.loads(journal.read_text())["segments"]:
                before = False
                midway()
            time.sleep(0.01)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        out.seek(0)
        told = json.loads(out.read().splitlines()[-1])
    names = {key: Path(told[key]).name for key in ("source", "target")}
    return {**told, **names, "peak_bytes": peak}


def _peak(pid: int) -> int:
    """The peak memory of a process in bytes (VmHWM); 0: it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def compare(server: Server, folder: Path, film: Path | None, repeats: int) -> list[dict[str, Any]]:
    """Measure each way of sending: the median run of `repeats`, and one in which the decoder's worker is killed."""
    if film is None:
        film = folder / "film.mp4"
        encode_video(film_frames(120, 256, 448), Fraction(24), film, crf=12)
    rows = []
    for name, options in WAYS.items():
        run(server, film, folder / "warm.mp4", options)
        runs = [run(server, film, folder / "plain.mp4", options) for _ in range(repeats)]
        plain = sorted(runs, key=lambda run: run["seconds"]["total"])[len(runs) // 2]
        (pid,) = server.worker_pids(DECODER)
        killed = run(server, film, folder / "killed.mp4", options, partial(os.kill, pid, signal.SIGKILL))
        while server.worker_pids(DECODER) == [pid] or not server.api.is_serving():
            time.sleep(0.2)
        rows.append({"way": name, "options": options, "undisturbed": plain, "worker_killed": killed})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def compare_table(rows: list[dict[str, Any]]) -> str:
    heads = ["", *(row["way"] for row in rows)]
    plain, killed = [row["undisturbed"] for row in rows], [row["worker_killed"] for row in rows]
    lines = [
        ["calls", *(f"{run['traffic']['calls']}" for run in plain)],
        ["MB sent", *(f"{run['traffic']['bytes_sent'] / 1e6:.1f}" for run in plain)],
        ["MB received", *(f"{run['traffic']['bytes_received'] / 1e6:.1f}" for run in plain)],
        ["first new frame after, s", *(f"{run['seconds']['to_first_new_frame']:.2f}" for run in plain)],
        ["whole film, s", *(f"{run['seconds']['total']:.1f}" for run in plain)],
        ["frames per second", *(f"{run['frames_out'] / run['seconds']['total']:.1f}" for run in plain)],
        ["client's peak memory, MB", *(f"{run['peak_bytes'] / 1e6:.0f}" for run in plain)],
        ["worker killed: whole film, s", *(f"{run['seconds']['total']:.1f}" for run in killed)],
        ["worker killed: calls repeated", *(f"{run['traffic']['retries']}" for run in killed)],
        [
            "worker killed: pairs lost",
            *(
                "0" if run["frames_out"] == whole["frames_out"] else "some"
                for run, whole in zip(killed, plain, strict=True)
            ),
        ],
    ]
    table = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in table)


def heading(ran_on: dict[str, Any]) -> str:
    versions = f"Python {ran_on['python']}, PyTorch {ran_on['torch']}"
    return f"{ran_on['cpu']}, {ran_on['cores']} cores, {versions}, {ran_on['date']}."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.strategies", description=__doc__.splitlines()[0])
    parser.add_argument("--film", type=Path, help="a video file (default: 5 s of the demo clip, 256x448)")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the median counts (default: 3)")
    parser.add_argument(
        "--model-store",
        type=Path,
        default=PROJECT / "model_store",
        help="folder of the archives (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="path of the results (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Server(args.model_store, folder / "server", ports="free") as server:
            rows = compare(server, folder, args.film, args.repeats)
    args.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine.describe(), "rows": rows}
    (args.output / "strategies.json").write_text(json.dumps(results, indent=1) + "\n")
    report = f"{heading(results['machine'])}\n\n{compare_table(rows)}"
    (args.output / "strategies.md").write_text(report)
    print(report)


if __name__ == "__main__":
    exit_when_told_to()
    main()
