"""Streaming against batch: transfers, delay, memory, error recovery, on one film through a real TorchServe.

python -m bench.strategies compare [--film FILM] [--output FOLDER]
python -m bench.strategies memory [--seconds 10 60] [--rate 24]

Starts a server of its own, runs the command as a user would, and writes bench/results/strategies.json and
strategies-memory.json, with a table of each (.md). `compare` serves what model_store/ holds; `memory`, which is about
the client alone, a model so small that a minute of film takes no hour.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import machine
from eden.config import EdenConfig
from eden.random_weights import write_random
from eden_client.cli.demo_clip import draw_clip
from media import encode_video
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
    """The demo clip, forwards and backwards, at the size and length wanted."""
    clip = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in draw_clip()
    ]
    there_and_back = clip + clip[-2:0:-1]
    return (there_and_back[i % len(there_and_back)] for i in range(count))


class Run:
    """The command at work on a film, in a process of its own whose peak memory is watched."""

    def __init__(self, server: Server, film: Path, target: Path, options: list[str]) -> None:
        command = [sys.executable, "-m", "eden_client", str(film), str(target), "--json", "--overwrite"]
        where = ["--server", server.url, "--management", server.management_url, "--key-file", str(server.tokens.path)]
        self.parts = target.with_name(target.name + ".parts")
        self._process = subprocess.Popen(
            [*command, *where, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for_segment(self) -> None:
        journal = self.parts / "journal.json"
        while not (journal.exists() and json.loads(journal.read_text())["segments"]):
            assert self._process.poll() is None, "it ended before its first segment"
            time.sleep(0.01)

    def finish(self) -> dict[str, Any]:
        """The command's own summary, and `peak_bytes`."""
        peak = 0
        while self._process.poll() is None:
            peak = max(peak, _peak(self._process.pid))
            time.sleep(0.05)
        out, err = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(err)
        told = json.loads(out.splitlines()[-1])
        names = {key: Path(told[key]).name for key in ("source", "target")}
        return told | names | {"peak_bytes": peak}


def _peak(pid: int) -> int:
    """The most memory that a process ever held, in bytes (VmHWM); 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def compare(server: Server, folder: Path, film: Path | None, repeats: int) -> list[dict[str, Any]]:
    """Each way of sending: the median run of `repeats`, and one with the decoder's worker killed in mid-film."""
    if film is None:
        film = folder / "film.mp4"
        encode_video(film_frames(120, 256, 448), Fraction(24), film, crf=12)
    rows = []
    for name, options in WAYS.items():
        Run(server, film, folder / "warm.mp4", options).finish()
        runs = [Run(server, film, folder / "plain.mp4", options).finish() for _ in range(repeats)]
        plain = sorted(runs, key=lambda run: run["seconds"]["total"])[len(runs) // 2]
        run = Run(server, film, folder / "killed.mp4", options)
        run.wait_for_segment()
        (pid,) = server.worker_pids("eden__dit_decoder")
        os.kill(pid, signal.SIGKILL)
        killed = run.finish()
        while server.worker_pids("eden__dit_decoder") == [pid] or not server.api.is_serving():
            time.sleep(0.2)
        rows.append({"way": name, "options": options, "undisturbed": plain, "worker_killed": killed})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def pack_smallest(folder: Path) -> Path:
    """A model store with the smallest EDEN that there can be."""
    config = EdenConfig(hidden_dim=32, num_heads=2, dit_depth=1, decoder_depth=1)
    weights = folder / "weights"
    write_random(weights, config)
    store = folder / "model_store"
    subprocess.run([PROJECT / "archive.sh", "--checkpoint", weights, "--output", store], check=True)
    return store


def memory(server: Server, folder: Path, seconds: list[int], rate: int) -> list[dict[str, Any]]:
    """Peak memory of the client on 480p films of several lengths."""
    rows = []
    for name in ("streaming, workflow", "batch of 16, workflow"):
        for length in seconds:
            film = folder / f"{length}.mp4"
            if not film.exists():
                encode_video(film_frames(length * rate, 480, 854), Fraction(rate), film)
            run = Run(server, film, folder / "out.mp4", [*WAYS[name], "--preset", "veryfast"])
            told = run.finish()
            kept = {key: told[key] for key in ("frames_in", "frames_out", "peak_bytes")}
            rows.append({"way": name, "seconds": length, "rate": rate, "run": kept})
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
        ["frames a second", *(f"{run['frames_out'] / run['seconds']['total']:.1f}" for run in plain)],
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
    return _table(heads, lines)


def memory_table(rows: list[dict[str, Any]]) -> str:
    shortest = {row["way"]: row["run"]["peak_bytes"] for row in reversed(rows)}
    lines = [
        [
            row["way"],
            f"{row['seconds']} s at {row['rate']}",
            f"{row['run']['frames_in']}",
            f"{row['run']['peak_bytes'] / 1e6:.0f}",
            f"{100 * row['run']['peak_bytes'] / shortest[row['way']] - 100:+.1f} %",
        ]
        for row in rows
    ]
    return _table(["", "480p film", "frames", "peak memory, MB", "against the shortest"], lines)


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def heading(ran_on: dict[str, Any]) -> str:
    versions = f"Python {ran_on['python']}, PyTorch {ran_on['torch']}"
    return f"{ran_on['cpu']}, {ran_on['cores']} cores, {versions}, {ran_on['date']}."


TABLES = {"strategies": compare_table, "strategies-memory": memory_table}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.strategies", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("compare", "memory"))
    parser.add_argument(
        "--film", type=Path, help="compare: a film of your own (default: 5 s of the demo clip, 256x448)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="compare: runs, of which the median counts (default: 3)")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60], help="memory: lengths (default: 10 60)")
    parser.add_argument("--rate", type=int, default=24, help="memory: frames a second of the films (default: 24)")
    parser.add_argument(
        "--model-store", type=Path, default=PROJECT / "model_store", help="compare: default: %(default)s"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = args.model_store if args.what == "compare" else pack_smallest(folder)
        with Server(store, folder / "server", ports="free") as server:
            if args.what == "compare":
                name, rows = "strategies", compare(server, folder, args.film, args.repeats)
            else:
                name, rows = "strategies-memory", memory(server, folder, args.seconds, args.rate)
    args.output.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine.describe(), "rows": rows}
    (args.output / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    report = f"{heading(results['machine'])}\n\n{TABLES[name](rows)}"
    (args.output / f"{name}.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
