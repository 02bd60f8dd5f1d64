"""A process of its own for what must not befall the one that tests: forked from one that has loaded the libraries."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tests.contract.peers import CONTEXT
from tests.libc import call, keep_mounts_to_oneself


def run_confined(confine: Callable[[], None], function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function answers once the process is confined; what it raises there is an AssertionError here."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_confined, args=(theirs, confine, function, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(120), "it gave no answer within 120 s"
        answer, error = ours.recv()
    finally:
        process.kill()
        process.join()
    assert error is None, error
    return answer


def mount_memory(folder: Path, nbytes: int) -> None:
    """A tmpfs of so many bytes at `folder`, seen by this process alone. Raises OSError where that is not allowed."""
    keep_mounts_to_oneself()
    call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=%d" % nbytes)


def _confined(
    pipe: Connection, confine: Callable[[], None], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    try:
        confine()
        torch.set_num_threads(1)
        pipe.send((function(*arguments), None))
    except BaseException:
        pipe.send((None, traceback.format_exc()))
