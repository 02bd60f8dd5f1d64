"""A result that goes to standard output as raw y4m, frame by frame, for another program to take."""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from eden_client.film.read.film import Colours, VideoFormat
from eden_client.film.resume_journal import Entry
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.results import FilmFrame, Timing, Written, Wrote, converted
from eden_client.film.write.segments import tag
from media import MediaError
from media.video_reader import reason

FORMATS = ("yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p10le", "yuv444p10le")
"""What y4m holds and we write."""


class PipeResult:
    """Writes frames to standard output at once. There is nothing to resume, and no sound."""

    done = frozenset[int]()

    def __init__(self, look: VideoFormat, pixel_format: str, timing: Timing, wrote: Wrote) -> None:
        self.frames, self._wrote = 0, wrote
        if sys.stdout is None:
            raise MediaError("standard output is closed")
        self._painter = FrameConverter(look, pixel_format, rgb_into=Colours())  # which y4m cannot name
        self.planes = self._painter if self._painter.yuv else None
        self._tick = 1 / timing.rate
        self._container = av.open(_Pipe(look.aspect), "w", format="yuv4mpegpipe", options={"strict": "-1"})
        stream = self._container.add_stream("wrapped_avframe", rate=timing.rate)
        assert isinstance(stream, VideoStream)
        self._stream = stream
        stream.height, stream.width = look.size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = self._tick
        tag(stream, self._painter.colours, look.aspect)

    def write(self, segment: int, frame: FilmFrame) -> None:
        """Push a frame out. Raises MediaError: the other program is gone, or the disk is full."""
        begun = time.perf_counter()
        picture = converted(frame, self._painter)
        picture.pts, picture.time_base, picture.pict_type = self.frames, self._tick, 0
        try:
            self._container.mux(self._stream.encode(picture))
            sys.stdout.buffer.flush()
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"standard output cannot be written to: {reason(error)}") from error
        self.frames += 1
        self._wrote(Written(time.perf_counter() - begun, frame.drawn))

    def record(self, entry: Entry) -> None:
        """Nothing is made elsewhere."""

    def end_segment(self, segment: int) -> None:
        """Nothing is kept."""

    def finish(self) -> list[str]:
        """Flush."""
        self._container.close()
        sys.stdout.buffer.flush()
        return []

    def rescue(self) -> Path | None:
        """Nothing: it is gone already, and cannot be gone on with."""
        self.frames = 0
        return None

    def close(self) -> None:
        """Nothing is held."""


class _Pipe:
    """Standard output; into y4m's header goes the pixel aspect ratio, which PyAV cannot tell FFmpeg's writer."""

    def __init__(self, aspect: Fraction) -> None:
        self._stated = f" A{aspect.numerator}:{aspect.denominator} ".encode()
        self._begun = False

    def write(self, data: bytes) -> int:
        if not self._begun:
            data, self._begun = bytes(data).replace(b" A0:0 ", self._stated, 1), True
        sys.stdout.buffer.write(data)
        return len(data)
