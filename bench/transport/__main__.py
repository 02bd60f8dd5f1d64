"""Measures the time that a clip takes to a server and back, in HTTP bodies and in shared memory.

python -m bench.transport [--size 1080x1920] [--clip 8] [--calls 20]

There is one caller, and a TorchServe whose model computes nothing: it reads the frames as the fused model does, and
answers with all but the first. Calls by bodies (.npy) and by shared memory alternate, so that both meet the same
conditions. The time includes the caller's copies into and out of shared memory, which eden_client makes too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench import machine
from bench.topologies import frames, served
from bench.topologies.load import Caller
from bench.topologies.plan import TRANSPORTS, Work
from media.signals import exit_when_told_to
from server.settings import PROJECT
from server.staging import stage_autostart, stage_model
from server.topology import FUSED, TOPOLOGIES

WARM_CALLS = 5
HANDLERS = {FUSED: "bench/transport/handlers", "autostart": "handlers"}


def pack(store: Path) -> None:
    """Pack a model store of the fused topology, whose model computes nothing."""
    store.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        stage_model(FUSED, stage / FUSED, {}, 1, [])
        stage_autostart(stage / "autostart", TOPOLOGIES["fused"], {"watch_s": 0})
        for model, handlers in HANDLERS.items():
            command = [
                str(Path(sys.executable).parent / "torch-model-archiver"), "--model-name", model, "--version", "1.0",
                "--archive-format", "zip-store", "--handler", f"{handlers}/{model}.py",
                "--extra-files", str(stage / model / "files"),
                "--config-file", str(stage / model / "model-config.yaml"), "--export-path", str(store),
            ]  # fmt: skip
            subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)


def measure(work: Work, calls: int, folder: Path) -> dict[str, list[float]]:
    """Measure calls. Returns the seconds of each, by transport. Raises RuntimeError: a call failed."""
    pack(folder / "store")
    frames.draw(work, folder)
    taken: dict[str, list[float]] = {name: [] for name in TRANSPORTS}
    with served.started(folder / "store", folder / "server", 120) as server:
        callers = {}
        for name in TRANSPORTS:
            target = served.target(server, replace(work, by_region=name == "region"), folder)
            callers[name] = Caller(target, [body.path.read_bytes() for body in target.bodies])
        for number in range(WARM_CALLS + calls):
            for name, caller in callers.items():
                call = caller.call(number)
                if call.failure:
                    raise RuntimeError(f"{name}: {call.failure}")
                taken[name].append(call.taken)
        for caller in callers.values():
            caller.close()
    return {name: seconds[WARM_CALLS:] for name, seconds in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.transport", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", default="1080x1920", metavar="HxW", help="frame size in pixels (default: %(default)s)"
    )
    parser.add_argument("--clip", type=int, default=8, help="frames per call (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=20, help="calls per transport (default: %(default)s)")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    work = Work((height, width), args.clip, "npy", batch=1, users=1)
    with tempfile.TemporaryDirectory(prefix="transport-") as folder:
        found = measure(work, args.calls, Path(folder))
    megabytes = (2 * args.clip - 1) * height * width * 3 / 1e6
    print(
        f"{machine.cpu()}: {args.clip} frames of {args.size} there, {work.pairs} back, {megabytes:.0f} MB; ms of a call"
    )
    for name, seconds in found.items():
        median, fastest, slowest = (1e3 * each for each in (statistics.median(seconds), min(seconds), max(seconds)))
        print(f"{name:>6}: median {median:.0f}, fastest {fastest:.0f}, slowest {slowest:.0f}")
    return 0


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
