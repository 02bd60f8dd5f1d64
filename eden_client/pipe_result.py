"""A result that goes to standard output as raw y4m, frame by frame, for another program to take."""

from __future__ import annotations

import sys
from pathlib import Path

import av
from av.video.stream import VideoStream

from eden_client.pipeline import Made
from eden_client.results import Timing, painted
from media import MediaError
from media.film import Look
from media.painting import Painter

FORMATS = ("yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p10le", "yuv444p10le")
"""What y4m holds and we write, 8 bits first."""


def piped_format(look: Look, wanted: str | None) -> str:
    """The pixel format for a film that looks like `look`. Raises MediaError."""
    choice = wanted or (look.pixel_format.replace("yuvj", "yuv") if look.bits <= 10 else "yuv420p10le")
    if choice in FORMATS:
        return choice
    if wanted:
        raise MediaError(f"y4m does not hold {wanted}; it holds {', '.join(FORMATS)}")
    return "yuv420p" if look.bits == 8 else "yuv420p10le"


class PipeResult:
    """Writes frames to standard output at once. There is nothing to resume, and no sound."""

    gaps = 0

    def __init__(self, look: Look, pixel_format: str, timing: Timing) -> None:
        self.frames = 0
        self._painter = Painter(look, pixel_format)
        self._tick = 1 / timing.rate
        self._container = av.open(sys.stdout.buffer, "w", format="yuv4mpegpipe", options={"strict": "-1"})
        stream = self._container.add_stream("wrapped_avframe", rate=timing.rate)
        assert isinstance(stream, VideoStream)
        self._stream = stream
        stream.height, stream.width = look.size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = self._tick
        stream.codec_context.sample_aspect_ratio = look.aspect

    def write(self, made: Made) -> None:
        """Push a frame out. Raises MediaError: the other program is gone."""
        frame = painted(made, self._painter)
        frame.pts, frame.time_base, frame.pict_type = self.frames, self._tick, 0
        try:
            self._container.mux(self._stream.encode(frame))
            sys.stdout.buffer.flush()
        except (av.FFmpegError, OSError) as error:
            raise MediaError("standard output was closed") from error
        self.frames += 1

    def end_segment(self, gaps: int) -> None:
        """Nothing is kept."""
        self.gaps = gaps

    def finish(self) -> list[str]:
        """Flush."""
        self._container.close()
        sys.stdout.buffer.flush()
        return []

    def rescue(self) -> Path | None:
        """Nothing: it is gone already."""
        return None

    def close(self) -> None:
        """Nothing is held."""
