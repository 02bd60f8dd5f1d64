"""A process of its own for what must not befall the one that tests: forked from one that has loaded the libraries."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tests.contract.peers import CONTEXT

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 1 << 18


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
    _call("unshare", _CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=%d" % nbytes)


def _call(name: str, *arguments: Any) -> None:
    passed = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*passed):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _confined(
    pipe: Connection, confine: Callable[[], None], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    try:
        confine()
        torch.set_num_threads(1)
        pipe.send((function(*arguments), None))
    except BaseException:
        pipe.send((None, traceback.format_exc()))
