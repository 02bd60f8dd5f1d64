"""Encodes a segment of a film, frames of the source and frames in between, into a file of its own."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from eden_client.film.read.film import VideoFormat
from eden_client.film.resume_journal import Entry
from eden_client.film.write.encoding import Encoding
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.results import FilmFrame, Timing, Written, Wrote, converted
from eden_client.film.write.segments import Segment, SegmentWriter


@dataclass(frozen=True)
class SegmentRecipe:
    """How every segment of a film is encoded. It can be pickled. Equal recipes and frames give equal bytes."""

    source: VideoFormat
    encoding: Encoding
    timing: Timing

    def converter(self) -> FrameConverter:
        """A converter to the encoder's pixel format."""
        return FrameConverter(self.source, self.encoding.pixel_format, self.encoding.pad)

    def result(self) -> VideoFormat:
        """The format of the film that the segments make."""
        return replace(self.source, colours=self.converter().colours, rate=self.timing.rate)


class SegmentEncoder:
    """Writes one segment to `path`. Raises MediaError."""

    def __init__(self, recipe: SegmentRecipe, path: Path) -> None:
        self._converter = recipe.converter()
        self._writer = SegmentWriter(path, recipe.encoding, recipe.result(), recipe.timing.rate, recipe.timing.tick)

    def write(self, frame: FilmFrame) -> None:
        """Encode a frame."""
        picture = converted(frame, self._converter)
        source = frame.source
        # An original goes to the encoder as it is, with another time; two segments may encode it at once.
        with source.lock if source is not None and picture is source.original else nullcontext():
            self._writer.write(picture, frame.time)

    def close(self) -> Segment:
        """Finish the file."""
        return self._writer.close()

    def abandon(self) -> None:
        """Remove the file."""
        self._writer.abandon()


@dataclass(frozen=True)
class VideoSinks:
    """Opens sinks that encode a film's segments into files in `folder`. It can be pickled."""

    recipe: SegmentRecipe
    folder: Path

    def into(self, folder: Path) -> Self:
        """The same, with another folder."""
        return replace(self, folder=folder)

    def open(self, number: int, wrote: Wrote) -> VideoSink:
        """The sink of the segment with this index. Raises MediaError: it cannot be encoded or written."""
        # A process that was given up may still be working on the same segment.
        path = self.folder / f"{number:06d}.{os.getpid()}.nut"
        return VideoSink(number, SegmentEncoder(self.recipe, path), wrote)


class VideoSink:
    """A segment's encoder that reports each frame to `wrote`."""

    def __init__(self, number: int, encoder: SegmentEncoder, wrote: Wrote) -> None:
        self._number, self._encoder, self._wrote = number, encoder, wrote

    def write(self, frame: FilmFrame) -> None:
        """Encode a frame. Raises MediaError."""
        begun = time.perf_counter()
        self._encoder.write(frame)
        self._wrote(Written(time.perf_counter() - begun, frame.drawn))

    def close(self) -> Entry:
        """Finish the file, and return the segment's entry for the journal. Raises MediaError."""
        begun = time.perf_counter()
        segment = self._encoder.close()
        self._wrote(Written(time.perf_counter() - begun, frames=0))
        return Entry(self._number, segment.path.name, str(segment.start), segment.count, segment.reorder)

    def abandon(self) -> None:
        """Remove the file."""
        self._encoder.abandon()
