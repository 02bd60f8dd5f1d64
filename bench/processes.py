"""Runs other programs for a benchmark, and ends them with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PATIENCE = 30.0
"""Seconds that a program gets to end when it is asked to, before it is killed."""


@contextmanager
def running(command: Sequence[str], **popen: Any) -> Iterator[subprocess.Popen[Any]]:
    """A running program, ended at the end of the block. `popen`: arguments of subprocess.Popen."""
    with subprocess.Popen(command, **popen) as process:
        try:
            yield process
        finally:
            process.terminate()  # nothing happens to one that has ended
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
