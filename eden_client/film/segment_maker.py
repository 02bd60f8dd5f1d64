"""One segment of a film, made in whatever process: its pictures read, the frames between asked for, all encoded."""

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
    """Opens what takes the frames of segments; plain data."""

    @property
    def folder(self) -> Path:
        """Where they become files."""

    def into(self, folder: Path) -> Self:
        """The same into another folder."""

    def open(self, number: int, wrote: Wrote) -> SegmentSink[FilmFrame]:
        """For the segment with this number."""


@dataclass(frozen=True)
class FilmTask:
    """What is the same for all segments of a film: plain data."""

    source: Source
    sinks: Sinks
    window: int
    """calls side by side"""
    clip: int
    """frames that are sent together"""
    compare: bool
    planes: FrameConverter | None = None
    """what makes planes of pictures; None: frames travel as RGB"""
    step: TraceContext | None = None
    """of a trace, that this film is, if there is one"""


class SegmentMaker:
    """Makes segments of one film, one after the other.

    times   told how long there was reading and asking
    stop    once it is set, `make` gives up with Stopped, as soon as a frame comes
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
        """Make a segment; returns what is to be noted of it. Raises MediaError, EdenError or OSError."""
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
        """Let go of the source."""
        self._reader.close()


def _with_pictures(gaps: Sequence[PlannedGap], pictures: Iterable[Picture]) -> Iterator[Gap]:
    """The gaps with their pictures, each as soon as those are there."""
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
