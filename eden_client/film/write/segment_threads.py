"""Several segments made at once, each in a thread of its own, with a bound on the frames that wait."""

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
    """What takes the frames of one segment, in order. One thread uses it."""

    def write(self, frame: T_contra) -> None:
        """Add a frame."""

    def close(self) -> Entry:
        """Finish the segment; what is to be noted of it."""

    def abandon(self) -> None:
        """Drop what was begun."""


class _Mark(Enum):
    COMPLETE = "complete"
    DROPPED = "dropped"


@dataclass
class _Running(Generic[T]):
    thread: threading.Thread
    frames: queue.SimpleQueue[T | _Mark] = field(default_factory=queue.SimpleQueue)


class SegmentThreads(Generic[T]):
    """Frames come in order and go to the thread of their segment; segments are finished in any order.

    open_sink  makes what takes the frames of a segment, by its number
    ended      told of each segment that is finished; by several threads
    at_once    segments in the making at the same time
    waiting    frames that may wait, all segments together

    What a sink raises is raised by the `write` that follows, or by `finish`.
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
        """Hand over a frame of a segment; waits while too many wait already."""
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
        """This segment has all its frames; one that has none is noted at once."""
        if segment in self._running:
            self._running[segment].frames.put(_Mark.COMPLETE)
        else:
            self._ended(Entry.empty(segment))

    def finish(self) -> None:
        """Wait for all segments, which are complete."""
        self._join()
        self._raise()

    def stop(self) -> None:
        """Finish the segments that are complete, and drop the others."""
        for each in self._running.values():
            each.frames.put(_Mark.DROPPED)
        self._join()

    def _join(self) -> None:
        for each in self._running.values():
            with suppress(RuntimeError):  # told to end in the moment in which it is started
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
                    del frame  # the next one may be long in coming
                if frame is _Mark.COMPLETE:
                    self._ended(sink.close())
                    return
            except BaseException:
                sink.abandon()
                raise
            sink.abandon()
        except BaseException as error:
            self._errors.put(error)
            while not isinstance(frames.get(), _Mark):  # whoever waits for room learns of it
                self._room.release()
        finally:
            self._places.release()
