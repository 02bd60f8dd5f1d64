"""Reads a film's pictures ahead, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from eden_client.film.read.film import Film, Picture

AHEAD = 4
"""Pictures that are read before they are asked for, at most."""
PATIENCE = 10.0
"""Seconds to wait for the thread's end: it may be waiting for a pipe that nobody writes to."""


class Closed(Exception):
    """The reader was left: no more pictures are read."""


class ReadAhead:
    """A context that reads `film` from its first picture on. Leave it before the film is closed."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self._came: queue.SimpleQueue[Picture | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="decode", daemon=True)

    def pictures(self) -> Iterator[Picture]:
        """Each picture, once, in order. Raises what `film` raises, and Closed after the context was left."""
        self._thread.start()
        while (came := self._came.get()) is not None:
            if isinstance(came, BaseException):
                raise came
            yield came
            self._room.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._room.release()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _read(self) -> None:
        try:
            for picture in self.film.pictures():
                self._room.acquire()
                if self._closing.is_set():
                    raise Closed
                self._came.put(picture)
            self._came.put(None)
        except BaseException as error:
            self._came.put(error)
