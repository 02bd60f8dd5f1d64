"""Ends the servers of a test process that was killed: `python -m tests.orphans FOLDER`, with a pipe for its input.

The pipe ends with the process at its other end, whatever ended that. If it has not said before that its servers are
stopped, each TorchServe whose configuration lies below FOLDER is ended, with its workers.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from server.processes import end
from server.settings import PROJECT

STOPPED = b"all are stopped"
_TEMPORARY = "-Djava.io.tmpdir="


@pytest.fixture(scope="session", autouse=True)
def no_orphans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of these tests end with this process, even if it is killed."""
    with guarded(tmp_path_factory.getbasetemp()):
        yield


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Servers below `folder` end if this process does before the end of the block."""
    command = [sys.executable, "-m", "tests.orphans", str(folder)]
    # In a session of its own: what ends this process's group is not for it.
    beside = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        beside.communicate(STOPPED)


def end_servers_below(folder: str) -> None:
    """End all servers whose configuration lies below a folder."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(argument.startswith(f"{folder}/") for argument in command):
            for argument in command:
                if argument.startswith(_TEMPORARY):
                    end(Path(argument.removeprefix(_TEMPORARY)))


if __name__ == "__main__":
    if sys.stdin.buffer.read() != STOPPED:
        end_servers_below(sys.argv[1])
