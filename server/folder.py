"""A server's working folder: whether it is this project's, its files, and a lock that makes starts and stops wait."""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

OWN = ".eden-server"
"""The subfolder that marks a folder as a server's, and holds what is removed when the server stops."""

LONGEST_SOCKET_FOLDER = 80
"""Bytes: the workers' socket paths must stay under the 108 that Linux allows."""


class FolderError(RuntimeError):
    """The folder cannot be used, or another start or stop of its server is under way; the message says which."""


@dataclass(frozen=True)
class ServerFolder:
    """The working folder of one server, an absolute path. Nothing in it is written or removed unless it `is_ours`."""

    path: Path

    @property
    def own(self) -> Path:
        return self.path / OWN

    @property
    def state(self) -> Path:
        """File with what other processes (stop, status) must know of the server; exists until the server is stopped."""
        return self.own / "state.json"

    @property
    def configuration(self) -> Path:
        return self.own / "config.properties"

    @property
    def key_file(self) -> Path:
        """TorchServe's file of tokens."""
        return self.path / "key_file.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def console(self) -> Path:
        return self.logs / "console.log"

    @property
    def working(self) -> Path:
        """File on which each worker holds a shared lock while it has something to finish: see `is_working`."""
        return self.own / "working"

    @property
    def draining(self) -> Path:
        """File that exists while the server is drained; its modification time is when new calls begin to be refused."""
        return self.own / "draining"

    def refuse_from(self, moment: float | None) -> None:
        """Make the server not ready now, and refuse new calls from `moment` (time.time()) on; None: take both back."""
        if moment is None:
            self.draining.unlink(missing_ok=True)
            return
        fresh = self.own / ".draining.new"
        fresh.touch()
        os.utime(fresh, (moment, moment))
        fresh.replace(self.draining)

    def refuses(self) -> bool:
        """Whether new calls must be refused now."""
        try:
            return self.draining.stat().st_mtime <= time.time()
        except OSError:
            return False

    def is_working(self) -> bool:
        """Whether a worker still has a call to answer, or holds tokens that nobody has fetched yet."""
        try:
            file = os.open(self.working, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def is_ours(self) -> bool:
        """Whether a server has been started here before."""
        return self.own.is_dir() and not self.own.is_symlink()

    def refusal(self) -> tuple[str, str] | None:
        """Why no server can be started here, and what to do about it; None if one can."""
        try:
            if not self.path.exists():
                above = next(each for each in self.path.parents if each.exists())
                return None if os.access(above, os.W_OK | os.X_OK) else _not_ours(above)
            if any(self.path.iterdir()) and not self.is_ours():
                return (
                    f"{self.path} is not empty and is not a server's folder ({OWN} is not in it). Nothing was changed.",
                    "Empty it, or name another one with --folder. (If a server of an older version of this project ran "
                    "here, end its Java process first.)",
                )
        except NotADirectoryError:
            return f"{self.path} is not a folder.", "Name a folder with --folder."
        except PermissionError:
            return _not_ours(self.path)
        written = self.own if self.is_ours() else self.path
        return None if os.access(written, os.W_OK | os.X_OK) else _not_ours(written)

    def claim(self) -> None:
        """Make the folder if it is missing, and mark it as a server's. Raises FolderError."""
        if reason := self.refusal():
            raise FolderError(" ".join(reason))
        self.path.mkdir(parents=True, exist_ok=True)
        # The mark comes first into an empty folder: whoever lists it meanwhile finds it empty, or marked.
        self.own.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def locked(self, patience: float | None = None) -> Iterator[None]:
        """Make other starts and stops of this server wait. FolderError after `patience` seconds (None: never).

        The lock ends with the process that holds it, however that ends.
        """
        try:
            file = (self.own / "lock").open("a+", encoding="ascii")
        except PermissionError:
            raise FolderError(" ".join(_not_ours(self.own))) from None
        with file:
            self._wait_for(file.fileno(), patience)
            yield

    def _wait_for(self, lock: int, patience: float | None) -> None:
        begun, told = time.monotonic(), False
        while True:
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            under_way = f"Another start or stop of the server in {self.path} is under way"
            if patience is not None and time.monotonic() - begun > patience:
                raise FolderError(f"{under_way}, and has not ended within {patience:g} s.")
            if not told:
                logger.warning("%s: waiting for it to end.", under_way)
                told = True
            time.sleep(0.1)

    # ------------------------------------------------------------------ temporary files

    def make_temporary(self) -> Path:
        """A new folder for unpacked archives, Java's wrapper and the workers' sockets."""
        temporary = self.own / "tmp"
        if not _fits(temporary):
            temporary = Path(tempfile.mkdtemp(prefix="eden-"))
            (temporary / OWN).write_bytes(os.fsencode(self.path))
        temporary.mkdir(exist_ok=True)
        return temporary

    def owns_temporary(self, temporary: Path) -> bool:
        """Whether `make_temporary` made `temporary` for this folder: a copied state file names another server's."""
        if temporary == self.own / "tmp":
            return True
        mark = temporary / OWN
        return mark.is_file() and mark.read_bytes() == os.fsencode(self.path)

    def clear(self, temporary: Path) -> None:
        """Remove what a stopped server leaves behind, except its logs and the mark of the folder."""
        if self.owns_temporary(temporary):
            _remove(temporary)
        for path in (self.key_file, self.configuration, self.state, self.draining, self.working):
            path.unlink(missing_ok=True)


def replace_file(path: Path, text: str) -> None:
    """Write a file completely or not at all; a symbolic link is replaced, never followed."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _not_ours(path: Path) -> tuple[str, str]:
    return f"{path} cannot be written by this user.", "Name another folder with --folder, or run this as its owner."


def _fits(temporary: Path) -> bool:
    """Whether a folder can hold sockets (its path is short) and be on PATH (no colon in it)."""
    text = str(temporary)
    return text.isascii() and ":" not in text and len(text) <= LONGEST_SOCKET_FOLDER


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)  # which follows no links
