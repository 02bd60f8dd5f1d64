"""This interpreter made to look like one of another platform, as far as a library can see it.

Run by itself (`python -m tests.unit.client.elsewhere PLATFORM FOLDER`): it imports every module of the client there,
and puts its locks to use.
"""

from __future__ import annotations

import importlib
import importlib.abc
import os
import pkgutil
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = "eden_client", "media"

NO_MODULES = {
    "win32": ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"),
    "darwin": ("msvcrt", "spwd"),
}
NO_NAMES = {
    "win32": (
        *("O_CLOEXEC", "O_DIRECT", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "O_TMPFILE"),
        *(
            "chown",
            "chroot",
            "fchmod",
            "fchown",
            "fork",
            "forkpty",
            "getegid",
            "geteuid",
            "getgid",
            "getpgid",
            "getuid",
        ),
        *("killpg", "lchown", "major", "memfd_create", "minor", "mkfifo", "mknod", "nice", "openpty", "pipe2"),
        *(
            "posix_fadvise",
            "posix_fallocate",
            "posix_spawn",
            "pread",
            "preadv",
            "pwrite",
            "pwritev",
            "readv",
            "sendfile",
        ),
        *("sched_getaffinity", "sched_setaffinity", "sched_yield", "setsid", "setuid", "statvfs", "sysconf", "uname"),
        *("wait", "waitid", "writev"),
    ),
    "darwin": (
        *("O_DIRECT", "O_TMPFILE", "eventfd", "memfd_create", "pipe2", "posix_fadvise", "posix_fallocate", "preadv"),
        *("sched_getaffinity", "sched_setaffinity"),
    ),
}
SIGNALS_ON_WINDOWS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM")


class Hidden(importlib.abc.MetaPathFinder):
    """Says that there are no such modules."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name, path=None, target=None):
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def modules() -> Iterator[str]:
    """All modules of the client and of what it uses, but the one that runs when it is imported."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield name
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith(".__main__"):
                yield found.name


def become(platform: str) -> None:
    """What others wrote is imported as it is here; ours anew, on that platform."""
    for name in list(modules()):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]
    locking = _msvcrt()
    for name in NO_MODULES[platform]:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Hidden(NO_MODULES[platform]))
    for name in NO_NAMES[platform]:
        vars(os).pop(name, None)
    if platform == "win32":
        sys.modules["msvcrt"] = locking
        for name in [name for name in vars(signal) if name.startswith("SIG") and name[3] != "_"]:
            if name not in SIGNALS_ON_WINDOWS:
                delattr(signal, name)
    sys.platform = platform


def _msvcrt() -> types.ModuleType:
    """Windows' module, of which one function is used: it locks bytes of an open file, or says that it may not."""
    import fcntl

    module = types.ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_NBLCK = 0, 2

    def locking(descriptor: int, mode: int, count: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN if mode == module.LK_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    module.locking = locking
    return module


def use_locks(folder: Path) -> None:
    """A journal is one run's, and a wait for a lock ends when that is released."""
    import threading

    from eden_client import folder_lock
    from eden_client.film.resume_journal import JournalError, open_journal
    from eden_client.folder_lock import FolderLock, LockTaken

    result = folder / "film.mp4"
    first = open_journal(result, {}, resume=False, overwrite=False)
    try:
        open_journal(result, {}, resume=True, overwrite=False)
        raise AssertionError("two runs share a journal")
    except JournalError as error:
        assert "another run" in str(error), error
    first.close()
    again = open_journal(result, {}, resume=True, overwrite=False)
    again.discard()
    assert list(folder.iterdir()) == [], list(folder.iterdir())

    held = FolderLock(folder, wait=True)
    try:
        FolderLock(folder, wait=False)
        raise AssertionError("two hold one lock")
    except LockTaken:
        pass
    if sys.platform == "win32":  # elsewhere the system waits
        refused, order = threading.Event(), []
        folder_lock.time = types.SimpleNamespace(sleep=lambda _: refused.set())
        waiting = threading.Thread(target=lambda: (FolderLock(folder, wait=True).release(), order.append("taken")))
        waiting.start()
        refused.wait()
        order.append("released")
        held.release()
        waiting.join()
        assert order == ["released", "taken"], order
    held.release()
    held.release()
    FolderLock(folder, wait=False).release()


if __name__ == "__main__":
    become(sys.argv[1])
    for each in list(modules()):
        importlib.import_module(each)
    use_locks(Path(sys.argv[2]))
    from eden_client.cli.options import parser

    parser().format_help()
    print("held by", "a file" if "fcntl" not in vars(sys.modules["eden_client.folder_lock"]) else "the folder")
