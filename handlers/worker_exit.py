"""Ends a worker that cannot serve any more, after its last answer: TorchServe then starts a new one."""

from __future__ import annotations

import logging
import os
import socket
import sys
from functools import partial
from typing import Any, NoReturn

logger = logging.getLogger(__name__)


def exit_after_answer(code: int = os.EX_SOFTWARE) -> None:
    """End this process with exit code `code` once the answer of the current batch has been written to TorchServe.

    It ends at once: no `atexit`, no destructors, no wait for threads, since with a lost CUDA context each of these may
    fail or hang. So close before what must be closed. Calls in TorchServe's queue are served by the new worker; a batch
    that TorchServe sends just as the process ends fails, as with any worker that dies.
    Raises RuntimeError in a process that is not a TorchServe worker.
    """
    # TorchServe's worker is a script. Its loop, `handle_connection`, looks up this global name whenever it wants the
    # next message, that is after the whole answer has been written to its socket.
    loop: Any = sys.modules["__main__"]
    if not hasattr(loop, "retrieve_msg"):
        raise RuntimeError("this process is no worker of TorchServe's: it has no loop that asks for the next message")
    loop.retrieve_msg = partial(_exit, code)
    # logged now: once a worker has ended, TorchServe reads none of its output
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
