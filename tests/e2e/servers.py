"""What the end-to-end tests share besides their server: where it is called, how archives are packed, what is sent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import requests

import media
from eden.random_weights import write_random
from server import Server
from server.api import BINARY
from server.settings import PROJECT

PREDICT = "/predictions/eden__encoder", "/predictions/eden__dit_decoder"
WORKFLOW = "/wfpredict/eden"
TAKEN = 5
"""Frames of 64x112 that the server of both topologies takes at once."""

# Servers that live for seconds: Java's slower compiler would cost more than it gives.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


def pack(folder: Path, *options: str, in_place: bool = True) -> Path:
    """A model store built by archive.sh with these options; of a small network of random numbers, which is quick.

    No server of it makes calls of its own (watch_s), unless the options say so: tests count calls.

    in_place: the weights stay beside it, which takes a sixth of the time.
    """
    weights = folder.with_name(f"{folder.name}-weights")
    write_random(weights)
    command = [str(PROJECT / "archive.sh"), "--output", str(folder), "--checkpoint", str(weights)]
    command += ["--set", "autostart:watch_s=0", *options]
    command += ["--in-place"] if in_place else []
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@contextmanager
def running_server(store: Path, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server on free ports, killed with its workers in the end, and what they leave removed.

    Told to end, TorchServe takes five seconds: tests of how a server ends tell it so themselves.
    """
    with Server(store, folder=folder, ports="free", env=env) as running:
        try:
            yield running
        finally:
            if running.is_running():
                java = psutil.Process(running.java_pid)
                for process in (java, *java.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Return once it holds; a server that does not answer just now counts as no. AssertionError if it never does."""
    deadline = time.monotonic() + seconds
    while not _holds(condition):
        assert time.monotonic() < deadline, f"it did not come within {seconds} s"
        time.sleep(0.2)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except requests.RequestException:
        return False


def assert_no_thread_leaked(server: Server, before: int) -> None:
    """The JVM has its threads of before, and at most a few that it keeps for itself (compiling, collecting).

    A call's own thread may outlive its answer by an instant. Leaks are one or two a call, for good.
    """
    wait_for(lambda: server.thread_count() <= before + 4)


def assert_same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> None:
    """Frames of one model on one CPU: rounding may move a few values by one grey level.

    How an operation adds up depends on the shape of its batch, which is a matter of who calls at the same time. Of a
    hundred thousand values that moves two to four, and of a frame that is another thousands.
    """
    one, other = (np.stack(list(frames)).astype(int) for frames in (first, second))
    assert one.shape == other.shape
    apart = np.abs(one - other)
    moved = np.count_nonzero(apart)
    assert apart.max(initial=0) <= 1 and moved <= 4 + apart.size // 2000, f"{moved} differ, by up to {apart.max()}"


def processes_of(folder: Path) -> list[list[str]]:
    """Command lines of everything that still works in or for that folder."""
    lines = (each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"]))
    return [line for line in lines if any(str(folder) in argument for argument in line)]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m server` as people run it."""
    call = [sys.executable, "-m", "server", *map(str, arguments)]
    return subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=240)


def interpolates(server: Server) -> bool:
    """Whether a pair is answered with the frame between."""
    reply = server.api.call(WORKFLOW, data=media.encode_npy(moving_frames()), headers=BINARY)
    return reply.status_code == 200 and reply.content.startswith(media.NPY_MAGIC)


def run_printed_call(status: str, folder: Path) -> np.ndarray:
    """The frame between two of `moving_frames` by the curl line in what `server status` printed, pasted in `folder`."""
    for name, frame in zip(("first", "second"), moving_frames(), strict=True):
        (folder / f"{name}.png").write_bytes(media.encode_image(frame, "png"))
    assert "-m eden_client.cli.demo_clip --stills clip.mp4` draws such" in status
    (line,) = [line for line in status.splitlines() if "curl" in line]
    subprocess.run(["bash", "-c", line.removeprefix("Try").strip()], cwd=folder, check=True, timeout=120)
    answer = folder / "between.png"
    between = media.decode_image(answer.read_bytes(), max_pixels=10**6)
    answer.unlink()
    return between


def moving_frames(count: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """[K, H, W, 3] uint8: a soft texture that moves four pixels a frame, of its own for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + count + 2, 3)).astype(np.float32)
    fine = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([fine[4 : 4 + height, 4 * i : 4 * i + width] for i in range(count)]).astype(np.uint8)
