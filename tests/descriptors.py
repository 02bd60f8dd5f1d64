"""A process without a free file descriptor, and the connections that wait for one. Needs none itself, once imported."""

from __future__ import annotations

import errno
import os

LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp, where its `rx_queue` is the connections not yet accepted."""

_TABLES = [os.open(f"/proc/net/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("tcp", "tcp6")]


def exhaust() -> list[int]:
    """Open all that the process may still open; whoever closes one of these makes room for one."""
    held: list[int] = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
    return held


def not_accepted(port: int) -> int:
    """Connections to a port of this machine that the kernel has taken up and the listening process has not."""
    waiting = 0
    for table in _TABLES:
        for line in _whole(table).splitlines()[1:]:
            _, local, _, state, queues, *_ = line.split()
            if state == LISTENS and int(local.rpartition(":")[2], 16) == port:
                waiting += int(queues.partition(":")[2], 16)
    return waiting


def _whole(table: int) -> str:
    os.lseek(table, 0, os.SEEK_SET)
    parts = []
    while part := os.read(table, 1 << 16):
        parts.append(part)
    return b"".join(parts).decode()
