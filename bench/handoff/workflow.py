"""Measures whole calls of a TorchServe workflow whose nodes only hand over, per kind of hand-off.

    python -m bench.handoff.workflow --out bench/results/handoff-workflow
    python -m bench.handoff.workflow --kinds inline,shared_memory --batches 8

With a batch of N, N calls are made at once. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import machine
from media.signals import exit_when_told_to
from server import Server
from server.settings import PROJECT
from server.staging import stage_autostart, stage_model, stage_workflow
from server.topology import TOPOLOGIES

KINDS = "shared_memory,zeromq,http,websocket,grpc,inline,torch_save"
MODELS = {"encoder": "bench/handoff/handlers", "dit_decoder": "bench/handoff/handlers", "autostart": "handlers"}
COMPANY_MS = 20
"""Milliseconds for which a node waits for its batch to be full."""


def pack(store: Path, kind: str, batch: int) -> None:
    """Pack a model store, with the names that `server` expects."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        handoff = {
            "kind": kind,
            "folder": str(store),
            "benchmark": True,
            "budget_bytes": 2 << 30,
            "time_to_live_s": 600,
        }
        stage_autostart(stage / "autostart", TOPOLOGIES["split"], {"watch_s": 0})
        for node in ("encoder", "dit_decoder"):
            stage_model(node, stage / node, {"handoff": handoff}, None, [])
        for model, handlers in MODELS.items():
            _run(
                "torch-model-archiver", "--model-name", model, "--version", "1.0", "--archive-format", "zip-store",
                "--handler", f"{handlers}/{model}.py", "--extra-files", stage / model / "files",
                "--config-file", stage / model / "model-config.yaml", "--export-path", store,
            )  # fmt: skip
        delay = COMPANY_MS if batch > 1 else 0
        stage_workflow(stage / "workflow", {"batch-size": batch, "max-batch-delay": delay}, {})
        _run(
            "torch-workflow-archiver", "--workflow-name", "eden", "--spec-file", stage / "workflow" / "eden.yaml",
            "--handler", stage / "workflow" / "no_functions.py", "--export-path", store,
        )  # fmt: skip


def _run(program: str, *arguments: object) -> None:
    command = [str(Path(sys.executable).parent / program), *map(str, arguments)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)


def measure(kind: str, batch: int, size: tuple[int, int], seconds: float, most: int) -> dict[str, Any]:
    """Measure `batch` calls at once: median milliseconds from the start of the first to the last answer."""
    with tempfile.TemporaryDirectory(prefix="eden-bench-") as folder:
        store = Path(folder) / "store"
        store.mkdir()
        pack(store, kind, batch)
        with Server(store, Path(folder) / "server", ports="free") as server, ThreadPoolExecutor(batch) as callers:
            body = json.dumps({"size": size}).encode()

            def call(_: int) -> str:
                headers = {"Content-Type": "application/octet-stream"}
                reply = server.api.call("/wfpredict/eden", data=body, headers=headers, timeout=300)
                reply.raise_for_status()
                return reply.text

            def together() -> tuple[float, list[str]]:
                began = time.perf_counter()
                answers = list(callers.map(call, range(batch)))
                return 1e3 * (time.perf_counter() - began), answers

            for _ in range(3 if batch == 1 else 1):
                together()
            rounds: list[tuple[float, list[str]]] = []
            end = time.perf_counter() + seconds
            while not rounds or (len(rounds) < most and time.perf_counter() < end):
                rounds.append(together())
            answers = {answer for _, answers in rounds for answer in answers}
    times = [time for time, _ in rounds]
    return {
        "kind": kind,
        "batch": batch,
        "size": size,
        "ms": statistics.median(times),
        "rounds": len(times),
        "answers": sorted(answers),
    }


def report(results: dict[str, Any]) -> str:
    """The report: a table."""
    cpu = results["machine"]
    height, width = results["size"]
    batches = sorted({row["batch"] for row in results["rows"]})
    lines = [
        f"# Hand-offs through a live workflow, {height}x{width}, float32",
        "",
        f"{cpu['cpu']}, {cpu['cores']} cores; TorchServe 0.12.0, nodes that only put and take. Milliseconds from the "
        "first call's start to the last answer, medians; with a batch, as many calls at once, and up to "
        f"{COMPANY_MS} ms of waiting for company at each node.",
        "",
        *([results["note"], ""] if "note" in results else []),
        "| kind | " + " | ".join(f"batch {batch}" for batch in batches) + " |",
        "|---|" + "---|" * len(batches),
    ]
    for kind in dict.fromkeys(row["kind"] for row in results["rows"]):
        times = {row["batch"]: f"{row['ms']:.0f}" for row in results["rows"] if row["kind"] == kind and "ms" in row}
        lines.append(f"| {kind} | " + " | ".join(times.get(batch, "failed") for batch in batches) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kinds", default=KINDS, help="kinds of hand-off to measure (default: %(default)s)")
    add("--batches", default="1,8", help="pairs per batch (default: %(default)s)")
    add("--size", default="480x854", metavar="HxW", help="frame size in pixels (default: %(default)s)")
    add("--seconds", type=float, default=5.0, help="seconds for which each case is repeated (default: %(default)s)")
    add("--repeat", type=int, default=10, help="the most repetitions per case (default: %(default)s)")
    out = Path("bench/results/handoff-workflow")
    add("--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)")
    chosen = parser.parse_args()
    height, width = map(int, chosen.size.split("x"))
    results: dict[str, Any] = {"machine": machine.describe(), "size": (height, width), "rows": []}
    for kind in chosen.kinds.split(","):
        for batch in map(int, chosen.batches.split(",")):
            try:
                row = measure(kind, batch, (height, width), chosen.seconds, chosen.repeat)
            except Exception as error:  # one kind that fails ends no other
                row = {"kind": kind, "batch": batch, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(row), flush=True)
            results["rows"].append(row)
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            chosen.out.with_suffix(".md").write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    exit_when_told_to()
    main()
