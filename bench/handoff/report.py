"""Writes the tables and the picture of what bench.handoff measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from media.signals import exit_when_told_to

NETWORK = tuple(f"network/{module}" for module in ("transport", "pool", "server", "payload_server", "on_demand"))
PARTS = {
    "torch_save": (("torch_save",), "none: pickled bytes in the ticket"),
    "inline": (("inline",), "none: bytes in the ticket"),
    "shared_memory": (("shared_memory", "../buffers/shared", "../buffers/host"), "files in /dev/shm"),
    "cuda_ipc": (
        ("cuda_ipc", "../buffers/cuda_runtime", "../buffers/device"),
        "slabs on GPU 0, opened once by GPU 1",
    ),
    "nccl": (
        ("nccl/transport", "nccl/pair_group", "nccl/control", *NETWORK[1:], "../buffers/device"),
        "a control port, a process group per pair of workers",
    ),
    "zeromq": (("network/zeromq", *NETWORK), "a port and a thread a producer, ZeroMQ's I/O threads"),
    "http": (("network/http", *NETWORK), "a port, a thread a connection"),
    "websocket": (("network/websocket", *NETWORK), "a port, a thread a connection"),
    "grpc": (("network/grpc", *NETWORK), "a port, a pool of threads"),
    "in_process": (("in_process",), "both halves in one process"),
}
"""Per kind, its modules (first its own, then those that it shares with others), and what runs besides the workers."""


def write_report(out: Path) -> None:
    """Write OUT.md and OUT.png from OUT.json."""
    results = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    machine = results["machine"]
    gpus = " and ".join(machine["gpus"]) or "no GPU"
    text = [
        f"# Hand-offs: {results['devices'][0]} to {results['devices'][1]}",
        "",
        f"{gpus}; {machine['cpu']}, {machine['cores']} cores, threads per process: {results['threads']}; "
        f"Python {machine['python']}, PyTorch {machine['torch']}. Encoder and decoder in two processes, "
        "one pair (K = 2), steady state, milliseconds. Packing happens in put; the bytes move with the ticket (inline, "
        "torch_save), in take (kinds that pull), or not at all (memory both see); unpacking happens in take.",
        "",
        *([results["note"], ""] if "note" in results else []),
        *_single(results),
        *_clip(results),
        *_scaling(results),
        *_complexity(results),
    ]
    out.with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")
    _picture(results, out.with_suffix(".png"))


def _single(results: dict[str, Any]) -> list[str]:
    text = []
    for plain in results["plain"]:
        height, width = plain["size"]
        rows = [row for row in results["single"] if row["size"] == plain["size"] and row["wire"] == plain["wire"]]
        megabytes = next((row["payload_bytes"] / 1e6 for row in rows if "payload_bytes" in row), 0)
        pinned = f"; pinned copy down and up: {plain['pinned']:.2f} ms" if "pinned" in plain else ""
        text += [
            f"## {height}x{width}, {plain['wire']}: {megabytes:.1f} MB",
            "",
            f"A plain copy: {plain['copy']:.3f} ms{pinned}.",
            "",
            "| kind | put p50 / p95 | ticket p50 / p95 | take p50 / p95 | whole p50 / p95 | GB/s | x plain copy |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda row: row["whole"]["p50"] if "whole" in row else 1e9):
            if "error" in row:
                text.append(f"| {row['kind']} | {row['error']} | | | | | |")
                continue
            steps = " | ".join(f"{row[s]['p50']:.2f} / {row[s]['p95']:.2f}" for s in ("put", "ticket", "take", "whole"))
            text.append(
                f"| {row['kind']} | {steps} | {row['gb_per_s']:.2f} | {row['whole']['p50'] / plain['copy']:.1f} |"
            )
        text.append("")
    return text


def _clip(results: dict[str, Any]) -> list[str]:
    if not results["clip"]:
        return []
    height, width = results["clip"][0]["size"]
    text = [
        f"## The 47 pairs of a 48-frame clip, {height}x{width}, fp32",
        "",
        "Peak memory is what each side took beyond what it had before, its pools included; host / GPU, MB.",
        "",
        "| kind | way | ms | transfers | MB moved | encoder's peak | decoder's peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["clip"]:
        if "error" in row:
            text.append(f"| {row['kind']} | {row['way']} | {row['error']} | | | | |")
            continue
        peaks = [row.get(f"{side}_memory") for side in ("encoder", "decoder")]
        shown = " | ".join(f"{peak['host'] / 1e6:.0f} / {peak['gpu'] / 1e6:.0f}" if peak else "" for peak in peaks)
        text.append(
            f"| {row['kind']} | {row['way']} | {row['whole']['p50']:.1f} | {row['transfers']} "
            f"| {row['payload_bytes'] / 1e6:.0f} | {shown} |"
        )
    return [*text, ""]


def _scaling(results: dict[str, Any]) -> list[str]:
    if not results["scaling"]:
        return []
    counts = sorted({row["each"] for row in results["scaling"]})
    text = [
        "## Several encoders and decoders at once, 480x854, fp32, GB/s in all",
        "",
        "| kind | " + " | ".join(f"{count} + {count}" for count in counts) + " |",
        "|---|" + "---|" * len(counts),
    ]
    for kind in dict.fromkeys(row["kind"] for row in results["scaling"]):
        speeds = {row["each"]: f"{row['gb_per_s']:.2f}" for row in results["scaling"] if row["kind"] == kind}
        text.append(f"| {kind} | " + " | ".join(speeds.get(count, "") for count in counts) + " |")
    return [*text, ""]


def _complexity(results: dict[str, Any]) -> list[str]:
    text = [
        "## How complex",
        "",
        "| kind | lines of its own | lines it shares | beside the workers |",
        "|---|---|---|---|",
    ]
    for kind in dict.fromkeys(row["kind"] for row in results["single"]):
        (own, *shared), moving = PARTS[kind]
        text.append(f"| {kind} | {_lines(own)} | {sum(map(_lines, shared))} | {moving} |")
    return [*text, ""]


def _lines(module: str) -> int:
    source = Path(__file__).parents[2] / "handoff" / "transports" / f"{module}.py"
    lines = (line.strip() for line in source.read_text(encoding="utf-8").splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _picture(results: dict[str, Any], path: Path) -> None:
    cases = [plain for plain in results["plain"] if plain["wire"] == results["plain"][0]["wire"]]
    figure, axes = plt.subplots(1, len(cases), figsize=(5 * len(cases), 4.5), squeeze=False)
    for axis, plain in zip(axes[0], cases, strict=True):
        rows = [row for row in results["single"] if row["size"] == plain["size"] and row["wire"] == plain["wire"]]
        rows = sorted((row for row in rows if "whole" in row), key=lambda row: -row["whole"]["p50"])
        names = [row["kind"] for row in rows]
        axis.barh(names, [row["whole"]["p50"] for row in rows], color="#4878a8")
        axis.axvline(plain["copy"], color="#c04040", linestyle="--", label="plain copy")
        axis.set_xscale("log")
        axis.set_xlabel("put to taken, ms (median)")
        axis.set_title(f"{plain['size'][0]}x{plain['size'][1]}, {plain['wire']}")
        axis.legend()
        for i, row in enumerate(rows):
            axis.text(row["whole"]["p50"], i, f" {row['whole']['p50']:.2f}", va="center", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    exit_when_told_to()
    write_report(Path(sys.argv[1]))
