"""Ending a worker that can serve nothing any more, with its last answer given: TorchServe then starts a new one."""

from __future__ import annotations

import logging
import os
import socket
import sys
from functools import partial
from typing import Any, NoReturn

logger = logging.getLogger(__name__)


def exit_after_answer(code: int = os.EX_SOFTWARE) -> None:
    """End this process with that exit code once TorchServe has the answer of the batch at hand, in full.

    It ends on the spot: no `atexit`, no destructors, no wait for threads. Where a CUDA context is lost, each of these
    may fail or hang; so close first what must be closed. Calls that wait in TorchServe's queue are served by the new
    worker; a batch that it sends in the very moment of the end fails, as with any worker that dies.
    Raises RuntimeError in a process that is no worker of TorchServe's.
    """
    # TorchServe's worker is a script. Its loop, `handle_connection`, looks this name up each time that it wants the
    # next message, which is after it has handed the whole answer to its socket.
    loop: Any = sys.modules["__main__"]
    if not hasattr(loop, "retrieve_msg"):
        raise RuntimeError("this process is no worker of TorchServe's: it has no loop that asks for the next message")
    loop.retrieve_msg = partial(_exit, code)
    # said now, since TorchServe reads nothing more of a worker once it sees it end
    logger.error("this worker (pid %d) ends with exit code %d once its batch is answered", os.getpid(), code)


def _exit(code: int, connection: socket.socket) -> NoReturn:
    try:
        # at once: a large process, with a GPU's context, takes long to end, and TorchServe would send it another batch
        connection.shutdown(socket.SHUT_RDWR)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
