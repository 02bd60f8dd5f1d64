"""A segment of a film: frames of the source and frames in between, converted and encoded into a file of its own."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from eden_client.film.read.film import VideoFormat
from eden_client.film.write.encoding import Encoding
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.results import FilmFrame, Timing, converted
from eden_client.film.write.segments import Segment, SegmentWriter


@dataclass(frozen=True)
class SegmentRecipe:
    """How every segment of a film is encoded: plain data. Equal recipes and frames give equal bytes."""

    source: VideoFormat
    encoding: Encoding
    timing: Timing

    def converter(self) -> FrameConverter:
        """What makes frames in the encoder's pixel format."""
        return FrameConverter(self.source, self.encoding.pixel_format, self.encoding.pad)

    def result(self) -> VideoFormat:
        """How the film looks that the segments make."""
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
        # The source's own goes to the encoder as it is, but for its time, and two segments may show it at once.
        with source.lock if source is not None and picture is source.original else nullcontext():
            self._writer.write(picture, frame.time)

    def close(self) -> Segment:
        """Finish the file."""
        return self._writer.close()

    def abandon(self) -> None:
        """Remove the file."""
        self._writer.abandon()
