"""Makes several segments at once, each in a thread of its own, with a bound on the frames that wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar

from eden_client.film.resume_journal import Entry

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class SegmentSink(Protocol[T_contra]):
    """Takes the frames of one segment, in order. One thread uses it."""

    def write(self, frame: T_contra) -> None:
        """Add a frame."""

    def close(self) -> Entry:
        """Finish the segment, and return its entry for the journal."""

    def abandon(self) -> None:
        """Drop the unfinished segment."""


class _Mark(Enum):
    COMPLETE = "complete"
    DROPPED = "dropped"


@dataclass
class _Running(Generic[T]):
    thread: threading.Thread
    frames: queue.SimpleQueue[T | _Mark] = field(default_factory=queue.SimpleQueue)


class SegmentThreads(Generic[T]):
    """Passes frames, which come in order, to the thread of their segment. Segments finish in any order.

    open_sink  opens the sink of a segment, by its index
    ended      is called for each finished segment, by several threads
    at_once    segments that are made at once
    waiting    frames that may wait, of all segments together

    An error of a sink is raised by the next `write`, or by `finish`.
    """

    def __init__(
        self, open_sink: Callable[[int], SegmentSink[T]], ended: Callable[[Entry], None], at_once: int, waiting: int
    ) -> None:
        self._open_sink, self._ended = open_sink, ended
        self._places = threading.Semaphore(at_once)
        self._room = threading.Semaphore(waiting)
        self._running: dict[int, _Running[T]] = {}
        self._errors = queue.SimpleQueue[BaseException]()

    def write(self, segment: int, frame: T) -> None:
        """Pass on a frame of a segment. Blocks while `waiting` frames wait already."""
        self._room.acquire()
        if segment not in self._running:
            self._places.acquire()
            self._running = {number: each for number, each in self._running.items() if each.thread.is_alive()}
            self._running[segment] = _Running(
                threading.Thread(target=self._make, args=(segment,), name=f"segment {segment}", daemon=True)
            )
            self._running[segment].thread.start()
        self._raise()
        self._running[segment].frames.put(frame)

    def complete(self, segment: int) -> None:
        """This segment has all its frames. One without frames is finished at once."""
        if segment in self._running:
            self._running[segment].frames.put(_Mark.COMPLETE)
        else:
            self._ended(Entry.empty(segment))

    def finish(self) -> None:
        """Wait for all segments, which must be complete."""
        self._join()
        self._raise()

    def stop(self) -> None:
        """Finish the complete segments, and drop the others."""
        for each in self._running.values():
            each.frames.put(_Mark.DROPPED)
        self._join()

    def _join(self) -> None:
        for each in self._running.values():
            with suppress(RuntimeError):  # the thread has not been started yet
                each.thread.join()
        self._running.clear()

    def _raise(self) -> None:
        if not self._errors.empty():
            raise self._errors.get()

    def _make(self, number: int) -> None:
        frames = self._running[number].frames
        try:
            sink = self._open_sink(number)
            try:
                while not isinstance(frame := frames.get(), _Mark):
                    try:
                        sink.write(frame)
                    finally:
                        self._room.release()
                    del frame  # do not hold it until the next one comes
                if frame is _Mark.COMPLETE:
                    self._ended(sink.close())
                    return
            except BaseException:
                sink.abandon()
                raise
            sink.abandon()
        except BaseException as error:
            self._errors.put(error)
            while not isinstance(frames.get(), _Mark):  # wakes a `write` that waits for room
                self._room.release()
        finally:
            self._places.release()
