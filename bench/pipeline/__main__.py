"""Measures encoding, hand-off and decoding as a pipeline of two GPUs or processes, against the decoder by itself.

    python weights/make_random.py run/published --published
    python -m bench.pipeline --checkpoint run/published --second-decoder cuda:0 --out bench/results/pipeline-2xh100
    python -m bench.pipeline --checkpoint weights/demo --size 128x224 --devices cpu cpu --kinds shared_memory \
        --precision fp32

One process encodes a film and puts its clips. Each decoder's process takes and draws them, and takes the next clip
while it draws one; only tickets are passed between the processes. The rate of a decoder by itself is the mean of two,
measured before and after, on clips in its memory. The frames of the first films are compared with those that it drew by
itself. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from bench.pipeline.decoder import clips_of, decode, film
from eden import Encoder
from handoff import Handoff, HandoffSettings, OverCapacity, open_handoff
from media.signals import exit_when_told_to

PATIENCE_S = 60.0
"""Seconds within which a decoder that has work must send an answer."""

START_S = 300.0
"""Seconds that a decoder may take to start: kernels are compiled then."""

ALIKE = 1.5
"""Root mean square difference, of 255, up to which frames count as equal: 45 dB, as is demanded of bf16."""


class Pipeline:
    """An encoder in this process, and a process with a decoder on each device."""

    def __init__(self, args: Any, devices: Sequence[str]) -> None:
        self.args, self.devices = args, list(devices)
        spawn = multiprocessing.get_context("spawn")
        self.tickets = spawn.Queue()
        self.pipes: list[Any] = []
        self.workers = []
        for device in devices:
            ours, theirs = spawn.Pipe()
            worker = spawn.Process(target=decode, args=(args, device, self.tickets, theirs), daemon=True)
            worker.start()
            theirs.close()  # so that the end of a decoder is the end of its pipe
            self.pipes.append(ours)
            self.workers.append(worker)
        self.encoder = Encoder.load(args.checkpoint, args.devices[0], args.precision)
        self.frames = film(args.size, args.frames)
        self.pairs = args.frames - 1
        for pipe in self.pipes:
            _answers([pipe], START_S)

    def run(self, kind: str, count: int) -> dict[str, Any]:
        """Measure a kind of hand-off with the first `count` decoders.

        Returns a row with pairs per second, and their share of what these decoders do by themselves.
        """
        pipes = self.pipes[:count]
        with tempfile.TemporaryDirectory() as folder:
            settings = HandoffSettings(kind=kind, folder=Path(folder), max_in_flight=4 * count)
            for pipe in pipes:
                pipe.send(settings)
            before = self._one_each(pipes)
            with open_handoff(settings, self.args.devices[0]) as handoff:
                # until each decoder knows every place: of the clips in flight, and of those kept for a retry
                places = settings.max_in_flight + settings.keep_taken + 2 * count
                clips = sum(1 for _ in clips_of(self.frames, self.args.clip))
                self._send(-(-places * count // clips), handoff, pipes)
                self._end(pipes)
                apart = self._one_each(pipes)
                for pipe in pipes:
                    pipe.send("go on")
                films = max(2, round(self.args.seconds * sum(before) / self.pairs))
                started = time.perf_counter()
                self._send(films, handoff, pipes)
                rate = films * self.pairs / (time.perf_counter() - started)
                routes = sorted({route for event, route in handoff.counters if event == "put"})
                self._end(pipes)
                after = self._one_each(pipes)
        own = [sum(rates) / 2 for rates in zip(before, after, strict=True)]
        return {
            "kind": kind, "routes": routes, "decoders": self.devices[:count],
            "own_before_pairs_s": before, "own_after_pairs_s": after, "own_pairs_s": own,
            "pairs_s": rate, "share_of_own": rate / sum(own), "largest_difference": max(apart),
        }  # fmt: skip

    def close(self) -> None:
        """End the decoders, whatever they are doing."""
        for worker in self.workers:
            worker.kill()
            worker.join()
            worker.close()
        for pipe in self.pipes:
            pipe.close()
        self.tickets.close()

    def _send(self, films: int, handoff: Handoff, pipes: list[Connection]) -> None:
        """Send the film `films` times, as fast as the decoders take it, and wait until all of it is drawn."""
        left = films * self.pairs
        for _ in range(films):
            for number, clip in enumerate(clips_of(self.frames, self.args.clip)):
                output = self.encoder.encode(clip)
                while True:
                    try:
                        self.tickets.put((number, handoff.put(output)))
                        break
                    except OverCapacity:
                        left -= sum(_answers(pipes))
        while left:
            left -= sum(_answers(pipes))

    def _end(self, pipes: list[Connection]) -> None:
        for _ in pipes:
            self.tickets.put(None)

    def _one_each(self, pipes: list[Connection]) -> list[float]:
        return [answer for pipe in pipes for answer in _answers([pipe], self.args.seconds + PATIENCE_S)]


def _answers(pipes: list[Connection], seconds: float = PATIENCE_S) -> list[Any]:
    """Wait for decoders. Returns an answer of each that has sent one. Raises TimeoutError; EOFError: one has died."""
    ready = wait(pipes, seconds)
    if not ready:
        raise TimeoutError(f"no decoder has answered for {seconds:.0f} s")
    return [pipe.recv() for pipe in pipes if pipe in ready]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder or file of the weights")
    add(
        "--size",
        type=lambda text: tuple(map(int, text.split("x"))),
        default=(480, 854),
        metavar="HxW",
        help="frame size in pixels (default: 480x854)",
    )
    add("--frames", type=int, default=48, help="frames that are prepared and sent in turn (default: %(default)s)")
    add("--clip", type=int, default=9, help="frames per hand-off (default: %(default)s)")
    add("--precision", default="bf16", help="fp32, tf32 or bf16 (default: %(default)s)")
    kinds = ["cuda_ipc", "shared_memory"]
    add("--kinds", nargs="+", default=kinds, help=f"kinds of hand-off to measure (default: {' '.join(kinds)})")
    devices = ["cuda:0", "cuda:1"]
    add("--devices", nargs=2, default=devices, help=f"of the encoder, of the decoder (default: {' '.join(devices)})")
    add("--second-decoder", help="device of a second decoder, with which each kind is measured again, such as cuda:0")
    add("--seconds", type=float, default=5, help="seconds per measurement, three per row (default: %(default)s)")
    add("--out", type=Path, help="path of the results, without a suffix (default: they are only printed)")
    args = parser.parse_args(argv)
    devices = [args.devices[1], *([args.second_decoder] if args.second_decoder else [])]
    rows: list[dict[str, Any]] = []
    with closing(Pipeline(args, devices)) as pipeline:
        for count in range(1, len(devices) + 1):
            for kind in args.kinds:
                rows.append(pipeline.run(kind, count))
                if args.out:
                    _write(args, rows)
    print(_table(rows))
    if any(row["largest_difference"] > ALIKE for row in rows):
        sys.exit("frames drawn from what was handed over are not those that the decoder draws by itself")


def _write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    about = {name: str(getattr(args, name)) for name in ("size", "frames", "clip", "precision", "devices")}
    about["torch"] = torch.__version__
    about["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    args.out.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(_table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| hand-off | decoders on | decoders by themselves, pairs/s | encode + hand-off + decode, pairs/s | share "
        "| frames as by themselves |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        own = " + ".join(f"{rate:.1f}" for rate in row["own_pairs_s"])
        apart = row["largest_difference"]
        same = "yes, bit for bit" if not apart else f"{'yes' if apart <= ALIKE else 'NO'}, at most {apart:.2f} apart"
        lines.append(
            f"| {row['kind']} | {', '.join(row['decoders'])} | {own} | {row['pairs_s']:.1f} "
            f"| {100 * row['share_of_own']:.1f} % | {same} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    exit_when_told_to()
    main()
