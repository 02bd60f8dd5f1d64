"""Encode, hand over and decode in step, on two GPUs or two processes, against the decoder by itself.

    python weights/make_random.py run/published --published
    python -m bench.pipeline --checkpoint run/published --second-decoder cuda:0 --out bench/results/pipeline-2xh200
    python -m bench.pipeline --checkpoint weights/demo --size 128x224 --devices cpu cpu --kinds shared_memory \
        --precision fp32

One process encodes a film and puts its clips, each decoder's process takes them and draws; only tickets go between.
A decoder's own rate is measured first, in its process, on clips that are there already. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from bench.model import a_clip
from eden import DitDecoder, Encoder
from handoff import HandoffSettings, OverCapacity, open_handoff


def film(size: tuple[int, int], frames: int) -> torch.Tensor:
    """`frames` distinct frames, uint8 [N,3,H,W], in the host's memory."""
    return torch.cat([a_clip(size, seed) for seed in range((frames + 1) // 2)])[:frames]


def clips_of(frames: torch.Tensor, length: int) -> Iterator[torch.Tensor]:
    """A film cut into clips of `length` frames that share their ends, as a client cuts it."""
    for start in range(0, len(frames) - 1, length - 1):
        yield frames[start : start + length]


def decode(args: Any, settings: HandoffSettings, device: str, tickets: Any, answers: Any) -> None:
    """A decoder's process: its own rate, then clip after clip until a None comes."""
    decoder = DitDecoder.load(args.checkpoint, device, args.precision)
    encoder = Encoder.load(args.checkpoint, device, args.precision)
    outputs = [encoder.encode(clip) for clip in clips_of(film(args.size, args.frames), args.clip)]
    for _ in range(2):
        drawn = sum(len(decoder.interpolate([output], as_uint8=True)[0]) for output in outputs)
    started, rounds = time.perf_counter(), 0
    while rounds < 2 or time.perf_counter() - started < args.seconds:
        for output in outputs:
            decoder.interpolate([output], as_uint8=True)
        rounds += 1
    answers.put(rounds * drawn / (time.perf_counter() - started))
    del encoder, outputs
    with open_handoff(settings, device) as handoff:
        while (ticket := tickets.get()) is not None:
            output = handoff.take(ticket)
            (between,) = decoder.interpolate([output], as_uint8=True)
            answers.put(len(between))


def run(args: Any, kind: str, decoders: list[str]) -> dict[str, Any]:
    """One kind of hand-off, one decoder a device: pairs a second, and their share of the decoders' own rates."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        settings = HandoffSettings(kind=kind, folder=Path(folder), max_in_flight=4 * len(decoders))
        tickets, answers = spawn.Queue(), spawn.Queue()
        workers = [spawn.Process(target=decode, args=(args, settings, each, tickets, answers)) for each in decoders]
        for worker in workers:
            worker.start()
        try:
            own = [answers.get(timeout=300) for _ in workers]
            encoder = Encoder.load(args.checkpoint, args.devices[0], args.precision)
            frames = film(args.size, args.frames)
            with open_handoff(settings, args.devices[0]) as handoff:
                _films(args, 2, encoder, frames, handoff, tickets, answers)
                enough = max(2, round(args.seconds * sum(own) / (args.frames - 1)))
                started = time.perf_counter()
                pairs = _films(args, enough, encoder, frames, handoff, tickets, answers)
                rate = pairs / (time.perf_counter() - started)
                routes = sorted({route for event, route in handoff.counters if event == "put"})
                for _ in workers:
                    tickets.put(None)
                for worker in workers:
                    worker.join(30)
        finally:
            for worker in workers:
                worker.kill()
    return {
        "kind": kind, "routes": routes, "decoders": decoders, "own_pairs_s": own, "pairs_s": rate,
        "share_of_own": rate / sum(own),
    }  # fmt: skip


def _films(
    args: Any, count: int, encoder: Encoder, frames: torch.Tensor, handoff: Any, tickets: Any, answers: Any
) -> int:
    """Send the film `count` times, as fast as the decoders take it, and wait for all of it; pairs drawn."""
    drawn = 0
    for _ in range(count):
        for clip in clips_of(frames, args.clip):
            output = encoder.encode(clip)
            while True:
                try:
                    tickets.put(handoff.put(output))
                    break
                except OverCapacity:
                    drawn += answers.get(timeout=60)
    while drawn < count * (len(frames) - 1):
        drawn += answers.get(timeout=60)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(480, 854))
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--clip", type=int, default=9, help="frames of one hand-off")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--kinds", nargs="+", default=["cuda_ipc", "shared_memory"])
    parser.add_argument("--devices", nargs=2, default=["cuda:0", "cuda:1"], help="encoder, decoder")
    parser.add_argument("--second-decoder", help="also measure with a second decoder there, e.g. cuda:0")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [run(args, kind, [args.devices[1]]) for kind in args.kinds]
    if args.second_decoder:
        rows += [run(args, kind, [args.devices[1], args.second_decoder]) for kind in args.kinds]
    table = _table(rows)
    print(table)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        about = {name: str(getattr(args, name)) for name in ("size", "frames", "clip", "precision", "devices")}
        about["torch"] = torch.__version__
        about["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
        args.out.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(table)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| hand-off | decoders on | decoders by themselves, pairs/s | encode + hand-off + decode, pairs/s | share |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        own = " + ".join(f"{rate:.1f}" for rate in row["own_pairs_s"])
        lines.append(
            f"| {row['kind']} | {', '.join(row['decoders'])} | {own} | {row['pairs_s']:.1f} "
            f"| {100 * row['share_of_own']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
