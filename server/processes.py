"""Finds the processes that belong to a server, and ends these alone, by pid."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

PATIENCE = 30.0
"""Seconds that Java gets to end after SIGTERM, before it is killed."""


@dataclass(frozen=True)
class Identity:
    """A process, distinguished from a later one with the same pid."""

    pid: int
    started: str
    """The boot and the clock ticks since it; a time of day would change when the clock is set."""

    @classmethod
    def of(cls, pid: int) -> Self:
        """The identity of the process with this pid. Raises psutil.NoSuchProcess."""
        return cls(pid, _started(pid))

    def process(self) -> psutil.Process | None:
        """The process if it is still running, else None."""
        try:
            process = psutil.Process(self.pid)
            same = _started(self.pid) == self.started
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def _started(pid: int) -> str:
    try:
        # The name, in parentheses, may hold anything; the start is the twentieth field behind it (proc_pid_stat(5)).
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{ticks}"


def end(temporary: Path) -> None:
    """End the server with this temporary folder, and return when its Java and all child processes are gone.

    The command lines of Java and the workers name that folder. So they are found even if their parent has changed, or
    whoever started them was interrupted before it could record a pid.
    """
    java = _running(lambda argument: argument == f"-Djava.io.tmpdir={temporary}")
    below = [child for process in java for child in _children(process)]
    _end(java, PATIENCE)
    workers = _running(lambda argument: argument.startswith(f"{temporary}/.ts.sock."))
    below += [child for process in workers for child in _children(process)]
    _, left = psutil.wait_procs(_unique([*workers, *below]), timeout=0.5)  # most end with their Java
    _end(left, patience=5)


def _running(matches: Callable[[str], bool]) -> list[psutil.Process]:
    """The processes with a command line argument that matches."""
    psutil.process_iter.cache_clear()  # what it kept of an ended process stands for a new one of that pid: never ended
    return [each for each in psutil.process_iter(["cmdline"]) if any(map(matches, each.info["cmdline"] or []))]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _unique(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return list({process.pid: process for process in processes}.values())


def _end(processes: list[psutil.Process], patience: float) -> None:
    for signal in ("terminate", "kill"):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, signal)()
        _, processes = psutil.wait_procs(processes, timeout=patience)
