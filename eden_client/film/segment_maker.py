"""Makes one segment of a film, in any process: reads its pictures, asks for the frames between, encodes them all."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from eden_client.api.client import EdenClient
from eden_client.film.compare import compared
from eden_client.film.jobs import PlannedGap, SegmentJob
from eden_client.film.pipeline import Pipeline, Stopped, asking
from eden_client.film.plan.timeline import Gap
from eden_client.film.read.film import Picture
from eden_client.film.read.range_reader import RangeReader
from eden_client.film.read.sources import Source
from eden_client.film.resume_journal import Entry
from eden_client.film.stages import StageTimes
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.results import FilmFrame, Wrote, frame_of
from eden_client.film.write.segment_threads import SegmentSink
from eden_client.trace.recording import UNTRACED, Step, observed
from tracing.context import TraceContext


class Sinks(Protocol):
    """Opens the sinks that take the frames of segments. It can be pickled."""

    @property
    def folder(self) -> Path:
        """The folder that their files lie in."""

    def into(self, folder: Path) -> Self:
        """The same, with another folder."""

    def open(self, number: int, wrote: Wrote) -> SegmentSink[FilmFrame]:
        """The sink of the segment with this index. `wrote` is called for each frame that is encoded."""


@dataclass(frozen=True)
class FilmTask:
    """What all segments of a film share. It can be pickled."""

    source: Source
    sinks: Sinks
    window: int
    """calls at once"""
    clip: int
    """frames that are sent per call"""
    compare: bool
    planes: FrameConverter | None = None
    """converts pictures to the planes that are sent; None: RGB is sent"""
    step: TraceContext | None = None
    """the film's step in a trace; None: it is not traced"""


class SegmentMaker:
    """Makes segments of one film, one after the other.

    times   adds up the seconds of reading and asking
    stop    once it is set, `make` raises Stopped when the next frame comes
    """

    def __init__(
        self,
        task: FilmTask,
        client: EdenClient,
        wrote: Wrote,
        times: StageTimes,
        stop: threading.Event | None = None,
    ) -> None:
        self._task, self._wrote, self._times, self._client = task, wrote, times, client
        self._stop = stop or threading.Event()
        self._reader = RangeReader(task.source)

    def make(self, job: SegmentJob) -> Entry:
        """Make a segment, and return its entry for the journal. Raises MediaError, EdenError or OSError."""
        if not any(gap.shown for gap in job.gaps):
            return Entry.empty(job.number)
        trace = self._client.trace
        segment = trace.begin("segment", self._task.step, segment=job.number) if trace else UNTRACED
        with segment:
            return self._make(job, segment)

    def _make(self, job: SegmentJob, segment: Step) -> Entry:
        task = self._task
        gaps = observed(segment, "read", _with_pictures(job.gaps, self._reader.read(job.pictures)))
        between, sent_of = asking(self._client, task.planes, segment)
        pipeline = Pipeline(gaps, between, task.window, task.clip, self._times, at_first=task.window, frame_of=sent_of)
        frames = pipeline.frames()
        sink = task.sinks.open(job.number, self._wrote)
        try:
            with segment.child("encode"):
                for gap, made in compared(frames) if task.compare else frames:
                    for each in made:
                        if self._stop.is_set():
                            raise Stopped
                        sink.write(frame_of(each))
                    gap.left.release()
                return sink.close()
        except BaseException:
            frames.close()
            sink.abandon()
            raise

    def close(self) -> None:
        """Close the source."""
        self._reader.close()


def _with_pictures(gaps: Sequence[PlannedGap], pictures: Iterable[Picture]) -> Iterator[Gap]:
    """The gaps with their pictures, each as soon as these are read."""
    coming = iter(pictures)
    held: dict[int, Picture] = {}

    def picture(number: int) -> Picture:
        while number not in held:
            read = next(coming)
            held[read.number] = read
        return held[number]

    for gap in gaps:
        left = picture(gap.left)
        yield gap.between(left, None if gap.right is None else picture(gap.right))
        for number in [each for each in held if each < (gap.left if gap.right is None else gap.right)]:
            del held[number]
