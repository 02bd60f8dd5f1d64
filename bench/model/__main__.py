"""Measures EDEN's time, its parts, and how close it is to the machine's limits.

    python -m bench.model --out bench/results/model-h200            # on a GPU: every size and precision
    python -m bench.model --device cpu --out bench/results/model-cpu

The network has the published size and random values. Writes OUT.json, OUT.md and OUT.png. Every case is compared with
the plain form of the specification (plain_eden.py, float32) in the same run, and its frames with float32 ones.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from bench import machine
from bench.model import plain_eden
from bench.model.cost import decoder_flop
from bench.model.measuring import a_clip, median_ms
from bench.model.report import write_report
from bench.model.stages import kernel_times, stage_times
from eden import DitDecoder, EdenConfig, Encoder, EncoderOutput
from eden.decoder import Decoder
from eden.dit import Dit
from eden.patch_tokens import PatchTokens
from eden.random_weights import random_tensors
from media.signals import exit_when_told_to

CONFIG = EdenConfig()
GPU_CASES = [
    ((256, 448), 1, "bf16"), ((256, 448), 8, "bf16"), ((256, 448), 1, "tf32"), ((256, 448), 1, "fp32"),
    ((480, 854), 1, "bf16"), ((480, 854), 8, "bf16"), ((480, 854), 1, "tf32"), ((480, 854), 1, "fp32"),
    ((1080, 1920), 1, "bf16"), ((1080, 1920), 4, "bf16"), ((1080, 1920), 1, "tf32"), ((1080, 1920), 1, "fp32"),
    ((2160, 3840), 1, "bf16"),
]  # fmt: skip
CPU_CASES = [((256, 448), 1, "fp32"), ((256, 448), 1, "bf16")]
PLAIN_TOKENS = 40_000
"""Most tokens, 1.5 per patch, for the plain form. Its attention scores take 80 GB for 2160x3840."""


def load(tensors: dict[str, torch.Tensor], device: torch.device, precision: str) -> tuple[Encoder, DitDecoder]:
    with torch.device("meta"):
        networks = PatchTokens(CONFIG), Dit(CONFIG), Decoder(CONFIG)
    for network in networks:
        network.load_state_dict({name: tensors[name].clone() for name in network.state_dict()}, assign=True)
    tokens, dit, decoder = networks
    return Encoder(CONFIG, tokens, device, precision), DitDecoder(CONFIG, dit, decoder, device, precision)


def matrix_rate(device: torch.device) -> float:
    """TFLOP/s of an 8192-cubed bf16 product of random matrices (on a CPU: 2048-cubed, float32)."""
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 / median_ms(lambda: a @ b, device, 0.5) / 1e9


def plain_times(
    weights: plain_eden.Weights, clips: list[torch.Tensor], noise: torch.Tensor, device: torch.device, seconds: float
) -> tuple[dict[str, float], torch.Tensor]:
    """ms per pair of both halves of the plain form, from float32 frames on the device; and the frames that it draws."""
    frame0, frame1 = (torch.stack([clip[i] for clip in clips]).to(device) / 255 for i in (0, 1))
    seen = plain_eden.encode(weights, CONFIG, frame0, frame1)
    taken = {
        "encode_ms": median_ms(lambda: plain_eden.encode(weights, CONFIG, frame0, frame1), device, seconds),
        "decode_ms": median_ms(lambda: plain_eden.interpolate(weights, CONFIG, seen, noise), device, seconds),
    }
    return {name: value / len(clips) for name, value in taken.items()}, plain_eden.interpolate(
        weights, CONFIG, seen, noise
    )


def ours(halves: tuple[Encoder, DitDecoder], clips: list[torch.Tensor], seconds: float) -> dict[str, Any]:
    """ms per pair of both halves, from uint8 frames in the host's memory to uint8 frames there."""
    encoder, decoder = halves
    device, seeds = decoder.device, list(range(len(clips)))
    outputs = encoder.encode_clips(clips)
    start = time.perf_counter()
    decoder.interpolate(outputs, seeds=seeds, as_uint8=True)
    first = time.perf_counter() - start
    taken = {
        "encode_ms": median_ms(lambda: encoder.encode_clips(clips), device, seconds),
        "decode_ms": median_ms(lambda: decoder.interpolate(outputs, seeds=seeds, as_uint8=True), device, seconds),
        "on_device_ms": median_ms(lambda: decoder.interpolate(outputs, seeds=seeds), device, seconds),
        "pair_ms": median_ms(
            lambda: decoder.interpolate(encoder.encode_clips(clips), seeds=seeds, as_uint8=True), device, seconds
        ),
    }
    return {**{name: value / len(clips) for name, value in taken.items()}, "first_call_ms": first * 1000}


def psnr(frames: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    error = torch.cat(frames) - torch.cat(wanted)
    return -10 * error.square().mean().clamp(min=1e-20).log10().item()


def measure(
    size: tuple[int, int],
    batch: int,
    halves: tuple[Encoder, DitDecoder],
    exact: tuple[Encoder, DitDecoder],
    weights: plain_eden.Weights,
    seconds: float,
    others: int,
) -> dict[str, Any]:
    """Measure one row of the table. `others`: bytes on the GPU that other networks than the measured ones use."""
    encoder, decoder = halves
    device = decoder.device
    clips, seeds = [a_clip(size, seed) for seed in range(batch)], list(range(batch))
    wanted_outputs: list[EncoderOutput] = exact[0].encode_clips(clips)
    wanted = exact[1].interpolate(wanted_outputs, seeds=seeds)
    ph, pw = wanted_outputs[0].grid
    del wanted_outputs
    if device.type == "cuda":
        for graphs in (exact[0].graphs, exact[1].engine.graphs, encoder.graphs, decoder.engine.graphs):
            if graphs:
                graphs.clear()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    row: dict[str, Any] = {"size": f"{size[0]}x{size[1]}", "batch": batch, "precision": decoder.precision}
    row |= ours(halves, clips, seconds)
    if device.type == "cuda":
        row["peak_gb"] = (torch.cuda.max_memory_reserved() - others) / 1e9
    outputs = encoder.encode_clips(clips)
    row["psnr"] = psnr(decoder.interpolate(outputs, seeds=seeds), wanted)
    row["needed_tflop"] = decoder_flop(CONFIG, ph * pw, batch, 2 * batch) / batch / 1e12
    row["tflops"] = row["needed_tflop"] / row["decode_ms"] * 1000
    if device.type == "cuda":
        row["stages_ms"] = stage_times(decoder, outputs, seeds)
        row["kernels_ms"] = kernel_times(lambda: decoder.interpolate(outputs, seeds=seeds, as_uint8=True), batch)
    if ph * pw <= PLAIN_TOKENS / 1.5:
        noise = torch.stack([plain_noise(seed, ph * pw // 4, device) for seed in seeds])
        row["plain"], frames = plain_times(weights, clips, noise, device, seconds)
        row["plain_difference"] = (frames - torch.cat(wanted)).abs().max().item()
    return row


def plain_noise(seed: int, length: int, device: torch.device) -> torch.Tensor:
    return torch.randn(length, CONFIG.latent_dim, generator=torch.Generator().manual_seed(seed)).to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="path of the results, without a suffix")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.5,
        help="seconds for which each measurement is repeated (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: PyTorch's)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    tensors = random_tensors(CONFIG)
    weights = {name: tensor.to(device) for name, tensor in tensors.items()}
    cases = GPU_CASES if device.type == "cuda" else CPU_CASES
    rows = []
    with torch.inference_mode():
        rate = matrix_rate(device)
        exact = load(tensors, device, "fp32")
        for precision in dict.fromkeys(case[2] for case in cases):
            halves = None  # the last precision's networks go before the next ones come
            before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
            halves = exact if precision == "fp32" else load(tensors, device, precision)
            others = before - sum(4 * tensor.numel() for tensor in tensors.values()) * (precision == "fp32")
            for size, batch, _ in (case for case in cases if case[2] == precision):
                rows.append(measure(size, batch, halves, exact, weights, chosen.seconds, others))
                print(json.dumps(rows[-1]), flush=True)
    ran_on = f"{machine.cpu()}, {chosen.threads} threads"
    if device.type == "cuda":
        ran_on = torch.cuda.get_device_name(device)
    results = {
        "machine": ran_on,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "matrix_tflops": rate,
        "rows": rows,
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_report(chosen.out)


if __name__ == "__main__":
    exit_when_told_to()
    main()
