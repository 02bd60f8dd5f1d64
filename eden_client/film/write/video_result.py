"""Writes a result as a video file: segments, which are joined at the end with the source's sound and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from eden_client.film.join.joining import MuxPlan, join, rehearse
from eden_client.film.join.stream_copier import CarryPlan
from eden_client.film.read.film import Film
from eden_client.film.resume_journal import ResumeJournal, rescued_part
from eden_client.film.write.gif import write_gif
from eden_client.film.write.results import FilmFrame, Wrote
from eden_client.film.write.segment_encoder import SegmentEncoder, SegmentRecipe, VideoSinks
from eden_client.film.write.segment_threads import SegmentThreads
from eden_client.film.write.segments import Segment
from media import MediaError


class VideoResult:
    """Encodes several segments at once, and keeps those that an earlier run has finished.

    at_once  segments that are encoded at once
    waiting  frames that may wait for their encoders
    """

    def __init__(
        self,
        journal: ResumeJournal,
        film: Film,
        recipe: SegmentRecipe,
        target: Path,
        wrote: Wrote,
        at_once: int,
        waiting: int,
    ) -> None:
        self._journal, self._film, self._recipe, self._target = journal, film, recipe, target
        self._format = recipe.result()
        converter = recipe.converter()
        self.planes = converter if converter.yuv else None
        self._plan: CarryPlan | None = None
        self.done = journal.done
        self.sinks = VideoSinks(recipe, journal.folder)
        self.record = journal.record
        self._threads = SegmentThreads(lambda number: self.sinks.open(number, wrote), journal.record, at_once, waiting)

    @property
    def frames(self) -> int:
        """Frames in finished segments."""
        return self._journal.frames

    def rehearse(self) -> list[str]:
        """Try what `finish` will do, before frames are made. Returns notes for the user.

        Raises MediaError: a film like this cannot be encoded or written.
        """
        trial = self._journal.folder / f"trial{self._target.suffix}"
        segments = self._segments()[:1] or [self._black(trial.with_suffix(".nut"))]
        try:
            if self._recipe.encoding.container == "gif":
                write_gif(segments, self._format, trial)
                return []
            self._plan, notes = rehearse(segments, self._mux_plan(self._film.container), trial)
            return notes
        finally:
            for path in (trial, trial.with_suffix(".nut")):
                path.unlink(missing_ok=True)

    def write(self, segment: int, frame: FilmFrame) -> None:
        """Hand a frame to its segment's encoder. Raises MediaError."""
        self._threads.write(segment, frame)

    def end_segment(self, segment: int) -> None:
        """The segment is finished, and recorded in the journal, once its encoder is done."""
        self._threads.complete(segment)

    def finish(self) -> list[str]:
        """Join the film and put it in its place. Returns notes for the user. Raises MediaError."""
        self._threads.finish()
        whole = self._journal.folder / f"whole{self._target.suffix}"
        if self._recipe.encoding.container == "gif":
            warnings = write_gif(self._segments(), self._format, whole)
        else:
            warnings = join(self._segments(), self._mux_plan(self._film.container), whole, self._plan)
        whole.replace(self._target)
        self._journal.discard()
        return warnings

    def rescue(self) -> Path | None:
        """A playable file, without sound, of the segments up to the first missing one; None: there are none."""
        self._threads.stop()
        if not self._journal.frames:
            self._journal.discard()
            return None
        segments = self._segments(up_to_the_first_missing=True)
        if not segments:
            return None
        part = rescued_part(self._target)
        if self._recipe.encoding.container == "gif":
            write_gif(segments, self._format, part)
        else:
            join(segments, self._mux_plan(None), part)
        return part

    def close(self) -> None:
        """Close the journal; the files in its folder stay."""
        self._journal.close()

    def _mux_plan(self, source: Path | None) -> MuxPlan:
        timing = self._recipe.timing
        return MuxPlan(self._recipe.encoding, self._format, timing.tick, timing.last_duration, source, self._film.start)

    def _black(self, path: Path) -> Segment:
        """A black segment in the film's encoding, as short as possible."""
        encoder = SegmentEncoder(self._recipe, path)
        black = np.zeros((*self._format.size, 3), np.uint8)
        try:
            for number in range(2):
                time = self._film.start + number * self._recipe.timing.last_duration
                encoder.write(FilmFrame(number, time, pixels=black))
            return encoder.close()
        except MediaError:
            encoder.abandon()
            raise

    def _segments(self, up_to_the_first_missing: bool = False) -> Sequence[Segment]:
        entries = self._journal.entries
        if up_to_the_first_missing:
            entries = [entry for number, entry in enumerate(entries) if entry.number == number]
        return [
            Segment(self._journal.folder / entry.name, Fraction(entry.start), entry.frames, entry.reorder)
            for entry in entries
            if entry.name
        ]
