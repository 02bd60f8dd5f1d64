"""Measures every kind of hand-off between two processes, an encoder's and a decoder's, that do nothing else.

    python -m bench.handoff                                  # all kinds of this machine, on two GPUs or the CPU
    python -m bench.handoff --kinds shared_memory,grpc --sizes 480x854 --wires fp32 --clip-kinds '' --scaled-kinds ''

Writes OUT.json, OUT.md and OUT.png. Shapes are those of the published configuration, values are random. Each kind is
compared with a plain copy of the same bytes in the same run.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench import machine
from bench.handoff.processes import (
    CONTEXT,
    Job,
    decode,
    drain,
    encode,
    flood,
    in_one_process,
    make_clip,
    nbytes,
    settle,
)
from bench.handoff.report import write_report
from handoff import HandoffSettings
from media.signals import exit_when_told_to
from serving.settings import sensible_threads

CPU_KINDS = ("shared_memory", "torch_save", "inline", "zeromq", "http", "websocket", "grpc", "nccl")
GPU_KINDS = ("cuda_ipc", "in_process")
SCALED = "cuda_ipc,nccl,shared_memory,zeromq,http,websocket,grpc"
SIZES = ("256x448", "480x854", "1080x1920")
CLIP = 48
IN_FLIGHT = 6


def settings_for(kind: str, folder: Path, **more: Any) -> HandoffSettings:
    """Settings as a server would have them, with room for a whole clip."""
    roomy = {"budget_bytes": 6 << 30, "max_payload_bytes": 3 << 30}
    return HandoffSettings(kind=kind, folder=folder, benchmark=True, **{**roomy, **more})


def measure(kind: str, jobs: list[Job], devices: tuple[str, str], threads: int) -> list[dict[str, Any]]:
    """Do jobs by one kind of hand-off. Returns the result of each; that of a failed one holds "error"."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(kind, Path(folder))
        if kind == "in_process":
            return [in_one_process(settings, job, devices) for job in jobs]
        ours, theirs = CONTEXT.Pipe()
        encoder_end, decoder_end = CONTEXT.Pipe()
        decoder = CONTEXT.Process(target=decode, args=(settings, devices[1], threads, decoder_end), daemon=True)
        encoder = CONTEXT.Process(target=encode, args=(settings, devices[0], threads, encoder_end, theirs), daemon=True)
        for process in (decoder, encoder):
            process.start()
        theirs.close()
        results = []
        for job in jobs:
            ours.send(job)
            results.append(ours.recv() if ours.poll(120) else {"error": "no answer within 120 s"})
        ours.send(None)
        for process in (encoder, decoder):
            process.join(20)
            if process.is_alive():
                process.kill()
        return results


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """Medians and 95th percentiles in milliseconds, of the steps of a hand-off and of the whole."""
    if "error" in result:
        return result
    rounds = result.pop("rounds")
    steps = [[sum(step) for step in zip(*times, strict=True)] for times in rounds]
    columns = {name: [row[i] for row in steps] for i, name in enumerate(("put", "ticket", "take"))}
    columns["whole"] = [sum(row) for row in steps]
    times = {name: {"p50": _ms(column, 0.5), "p95": _ms(column, 0.95)} for name, column in columns.items()}
    speed = result["payload_bytes"] / (times["whole"]["p50"] / 1e3) / 1e9
    return {**result, **times, "gb_per_s": speed, "measured": len(rounds), "transfers": len(rounds[0])}


def plain_copies(job: Job, devices: tuple[str, str]) -> dict[str, float]:
    """Median milliseconds of a plain copy of the same bytes, which no hand-off can beat."""
    clip = make_clip(job.size, job.frames, job.dtype, devices[0])
    if devices[0] == "cpu":
        source = torch.zeros(nbytes(clip), dtype=torch.uint8)
        target = torch.ones_like(source)
        return {"copy": _median(lambda: target.copy_(source), "cpu")}
    tensors = list(clip.tensors().values())
    pinned = torch.empty(nbytes(clip), dtype=torch.uint8, pin_memory=True)
    ends = [torch.zeros(nbytes(clip), dtype=torch.uint8, device=device) for device in devices]

    def down_and_up() -> None:
        pinned.copy_(ends[0], non_blocking=True)
        settle(devices[0])
        ends[1].copy_(pinned, non_blocking=True)

    return {
        "copy": _median(lambda: [tensor.to(devices[1]) for tensor in tensors], devices[1]),
        "pinned": _median(down_and_up, devices[1]),
    }


def _median(action: Any, device: str) -> float:
    times = []
    for _ in range(40):
        began = time.perf_counter()
        action()
        settle(device)
        times.append(time.perf_counter() - began)
    return _ms(times[10:], 0.5)


def _ms(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return 1e3 * (
        statistics.median(ordered) if share == 0.5 else ordered[min(int(share * len(ordered)), len(ordered) - 1)]
    )


def scale(kind: str, count: int, size: tuple[int, int], devices: tuple[str, str], seconds: float) -> dict[str, Any]:
    """Measure `count` encoders and `count` decoders together, in GB/s."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(kind, Path(folder), max_in_flight=IN_FLIGHT, budget_bytes=2 << 30)
        tickets, stop = CONTEXT.Queue(), CONTEXT.Event()
        pipes = [CONTEXT.Pipe() for _ in range(count)]
        workers = [
            CONTEXT.Process(target=flood, args=(settings, devices[0], size, tickets, stop)) for _ in range(count)
        ]
        workers += [
            CONTEXT.Process(target=drain, args=(settings, devices[1], tickets, stop, pipe)) for _, pipe in pipes
        ]
        for worker in workers:
            worker.daemon = True
            worker.start()
        ready = all(pipe.poll(60) and pipe.recv() for pipe, _ in pipes)
        time.sleep(seconds + 1)
        stop.set()
        moments = [moment for pipe, _ in pipes if ready and pipe.poll(20) for moment in pipe.recv()]
        while True:
            try:
                tickets.get(timeout=0.1)
            except queue.Empty:
                break
        for worker in workers:
            worker.join(10)
            if worker.is_alive():
                worker.kill()
    last = max(moments, default=0.0)
    counted = sum(moment > last - seconds for moment in moments)
    return {
        "each": count,
        "takes_per_s": counted / seconds,
        "gb_per_s": counted * nbytes(make_clip(size, 2, "fp32", "cpu")) / seconds / 1e9,
    }


def _size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpus = torch.cuda.device_count()
    add = parser.add_argument
    usual = "cuda:0,cuda:1" if gpus > 1 else "cpu,cpu"
    add("--devices", default=usual, help="devices of the encoder and the decoder (default: two GPUs, else cpu,cpu)")
    add("--kinds", help="kinds of hand-off to measure (default: all that the devices can do)")
    add("--sizes", default=",".join(SIZES), help="frame sizes in pixels (default: %(default)s)")
    add("--wires", default="fp32,bf16", help="types of the tokens, in memory and on the way (default: %(default)s)")
    add("--repeat", type=int, default=30, help="the most repetitions per case (default: %(default)s)")
    add("--seconds", type=float, default=2.0, help="the most seconds per case (default: %(default)s)")
    add("--threads", type=int, help="CPU threads per process (default: as many as a worker has)")
    add("--clip-size", default="256x448", help=f"frame size of the clip of {CLIP} frames (default: %(default)s)")
    add("--clip-kinds", default="all", help='kinds that move the clip too; "": none (default: %(default)s)')
    add("--scaled-kinds", default=SCALED, help="kinds with several encoders and decoders too (default: %(default)s)")
    add("--counts", default="1,2,4", help="encoders, and as many decoders, for these kinds (default: %(default)s)")
    add("--out", type=Path, help="path of the results, without a suffix (default: they are only printed)")
    chosen = parser.parse_args()
    first, second = chosen.devices.split(",")
    devices = (first, second)
    on_gpu = first != "cpu"
    kinds = chosen.kinds.split(",") if chosen.kinds else [*(GPU_KINDS if on_gpu else ()), *CPU_KINDS]
    out = chosen.out or Path("bench/results") / ("handoff-gpu" if on_gpu else "handoff-cpu")
    threads = chosen.threads or sensible_threads(first, workers=1)
    torch.set_num_threads(threads)

    jobs = [
        Job(_size(size), wire, repeat=chosen.repeat, seconds=chosen.seconds)
        for size in chosen.sizes.split(",")
        for wire in chosen.wires.split(",")
    ]
    clip = Job(_size(chosen.clip_size), "fp32", frames=CLIP, repeat=4, warm_up=1)
    clip_jobs = [replace(clip, pair_by_pair=True), clip]
    results: dict[str, Any] = {"machine": machine.describe(), "devices": devices, "threads": threads}
    results["plain"] = [{"size": job.size, "wire": job.dtype, **plain_copies(job, devices)} for job in jobs]
    results |= {"single": [], "clip": [], "scaling": []}

    def keep(table: str, row: dict[str, Any]) -> None:
        """Written each time: a run that is cut short leaves what it has measured."""
        print(json.dumps(row), flush=True)
        results[table].append(row)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    for kind in kinds:
        for job, result in zip(jobs, measure(kind, jobs, devices, threads), strict=True):
            keep("single", {"kind": kind, "size": job.size, "wire": job.dtype, **summarise(result)})
    for kind in _among(chosen.clip_kinds, kinds):
        for job in clip_jobs:  # fresh processes each: the peak is theirs alone
            (result,) = measure(kind, [job], devices, threads)
            way = "pair by pair" if job.pair_by_pair else "one batch"
            keep("clip", {"kind": kind, "way": way, "size": job.size, **summarise(result)})
    for kind in _among(chosen.scaled_kinds, kinds):
        for count in map(int, chosen.counts.split(",")):
            keep("scaling", {"kind": kind, **scale(kind, count, (480, 854), devices, chosen.seconds)})
    write_report(out)


def _among(wanted: str, kinds: list[str]) -> list[str]:
    return kinds if wanted == "all" else [kind for kind in wanted.split(",") if kind in kinds]


if __name__ == "__main__":
    exit_when_told_to()
    main()
