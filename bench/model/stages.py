"""Measures where a pass's time goes on a GPU: by stage, each captured and replayed by itself, and by kernel."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from eden import DitDecoder, EncoderOutput
from eden.batch import Batch, noise_on
from eden.geometry import to_cells
from eden.grid_constants import grid_constants
from eden.precision import computing

KINDS = {
    "temporal attention": ("_temporal_attention",),
    "norms": ("_add_norm", "layer_norm"),
    "self-attention": ("flash", "fmha", "sdpa", "attention"),
    "matrix products": ("gemm", "cutlass", "nvjet", "cublas", "matmul", "splitk"),
    "gelu": ("gelu",),
    "copies": ("memcpy", "copy", "memset", "catarray"),
}
"""Kinds of kernels, by parts of their names; the first that fits counts."""


def replay_ms(action: Callable[[], Any], times: int = 20) -> float:
    """Median time in ms of `action`, replayed as a captured graph."""
    action()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        action()
    taken = []
    for _ in range(times):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end))
    return float(statistics.median(taken))


def stage_times(decoder: DitDecoder, outputs: list[EncoderOutput], seeds: list[int]) -> dict[str, float]:
    """ms per pair of the three stages of a pass."""
    engine, grid = decoder.engine, outputs[0].grid
    constants = grid_constants(grid, decoder.config.hidden_dim, decoder.device, decoder.dtype)
    pairs = len(outputs)
    batch = Batch.empty(pairs, 2 * pairs, constants, decoder.config.latent_dim)
    noise = [noise_on(decoder.device, seed, grid, decoder.config.latent_dim)[None] for seed in seeds]
    batch.fill(outputs, noise)
    cells = to_cells(batch.cond_dit, grid)
    with computing(decoder.precision):
        seen_dit = list(engine.dit.frame_keys_values(cells))
        seen_dec = list(engine.decoder.frame_keys_values(batch.cond_dec))
        by = engine.dit.modulations(engine.timestep_embeddings, batch.difference)[0]
        stages: dict[str, Callable[[], Any]] = {
            "frames' keys and values": lambda: (
                *engine.dit.frame_keys_values(cells),
                *engine.decoder.frame_keys_values(batch.cond_dec),
            ),
            "denoise, two steps": lambda: [
                engine.dit(batch.noise, by, seen_dit, batch.first, constants) for _ in engine.timestep_embeddings
            ],
            "decode": lambda: engine.decoder(batch.noise, seen_dec, batch.first, constants),
        }
        return {name: replay_ms(stage) / pairs for name, stage in stages.items()}


def kernel_times(action: Callable[[], Any], pairs: int, calls: int = 3) -> dict[str, float]:
    """ms per pair by kind of kernel, by PyTorch's profiler; empty: it sees no kernels."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(calls):
            action()
        torch.cuda.synchronize()
    total: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")
        total[kind] += event.self_device_time_total / 1000 / calls / pairs
        if kind == "other":
            total[f"other: {event.key[:60]}"] += event.self_device_time_total / 1000 / calls / pairs
    return {kind: taken for kind, taken in total.items() if taken}
