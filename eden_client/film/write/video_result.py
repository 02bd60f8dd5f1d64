"""A result that is a video file: segments in a workshop, joined at the end with the source's sound and all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from eden_client.film.join.joining import MuxPlan, join, rehearse
from eden_client.film.join.stream_copier import Plan
from eden_client.film.pipeline import Made
from eden_client.film.read.film import Film, VideoFormat
from eden_client.film.resume_journal import Entry, ResumeJournal
from eden_client.film.write.encoding import Encoding
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.gif import write_gif
from eden_client.film.write.results import Timing, painted
from eden_client.film.write.segments import Segment, SegmentWriter
from media import MediaError


class VideoResult:
    """Writes frames that look like `look` segment by segment; goes on where the workshop's earlier run stopped."""

    def __init__(
        self, workshop: ResumeJournal, film: Film, look: VideoFormat, encoding: Encoding, timing: Timing, target: Path
    ) -> None:
        self._workshop, self._film, self._encoding = workshop, film, encoding
        self._timing, self._target = timing, target
        self._painter = FrameConverter(look, encoding.pixel_format, encoding.pad)
        self._look = replace(look, colours=self._painter.colours, rate=timing.rate)
        self._open: SegmentWriter | None = None
        self._plan: Plan | None = None
        self.gaps, self.frames = workshop.gaps, workshop.frames

    def rehearse(self) -> list[str]:
        """Try what `finish` will do, before any work goes into frames; returns what a user should know.

        Raises MediaError: a film like this cannot be encoded or written.
        """
        trial = self._workshop.folder / f"trial{self._target.suffix}"
        segments = self._segments()[:1] or [self._black(trial.with_suffix(".nut"))]
        try:
            if self._encoding.container == "gif":
                write_gif(segments, self._look, trial)
                return []
            self._plan, notes = rehearse(segments, self._joint(self._film.container), trial)
            return notes
        finally:
            for path in (trial, trial.with_suffix(".nut")):
                path.unlink(missing_ok=True)

    def write(self, made: Made) -> None:
        """Add a frame to the segment at hand. Raises MediaError."""
        if self._open is None:
            path = self._workshop.folder / f"{len(self._workshop.entries):06d}.nut"
            self._open = SegmentWriter(path, self._encoding, self._look, self._timing.rate, self._timing.tick)
        self._open.write(painted(made, self._painter), made.time)
        self.frames += 1

    def end_segment(self, gaps: int) -> None:
        """Finish the segment at hand and note it. Raises MediaError."""
        self.gaps = gaps
        if self._open is None:
            self._workshop.record(Entry("", "0", 0, gaps))
            return
        segment = self._open.close()
        self._open = None
        self._workshop.record(Entry(segment.path.name, str(segment.start), segment.count, gaps, segment.reorder))

    def finish(self) -> list[str]:
        """Put the finished film in its place. Raises MediaError."""
        whole = self._workshop.folder / f"whole{self._target.suffix}"
        if self._encoding.container == "gif":
            warnings = write_gif(self._segments(), self._look, whole)
        else:
            warnings = join(self._segments(), self._joint(self._film.container), whole, self._plan)
        whole.replace(self._target)
        self._workshop.discard()
        return warnings

    def rescue(self) -> Path | None:
        """A playable film, without sound, of the finished segments."""
        if self._open is not None:
            self._open.abandon()
            self._open = None
        self.frames = self._workshop.frames
        if not self._segments():
            self._workshop.discard()
            return None
        part = self._workshop.folder / f"so-far{self._target.suffix}"
        if self._encoding.container == "gif":
            write_gif(self._segments(), self._look, part)
        else:
            join(self._segments(), self._joint(None), part)
        return part

    def close(self) -> None:
        """Let go of the workshop; what is in it stays."""
        self._workshop.close()

    def _joint(self, source: Path | None) -> MuxPlan:
        timing = self._timing
        return MuxPlan(self._encoding, self._look, timing.tick, timing.last_duration, source, self._film.start)

    def _black(self, path: Path) -> Segment:
        """A segment like those of the film, as short as one can be."""
        writer = SegmentWriter(path, self._encoding, self._look, self._timing.rate, self._timing.tick)
        try:
            for number in range(2):
                frame = self._painter.made(np.zeros((*self._look.size, 3), np.uint8))
                writer.write(frame, self._film.start + number * self._timing.last_duration)
            return writer.close()
        except MediaError:
            writer.abandon()
            raise

    def _segments(self) -> Sequence[Segment]:
        return [
            Segment(self._workshop.folder / entry.name, Fraction(entry.start), entry.frames, entry.reorder)
            for entry in self._workshop.entries
            if entry.name
        ]
