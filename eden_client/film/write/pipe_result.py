"""Writes a result to standard output as raw y4m, frame by frame, for another program."""

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
"""The pixel formats of y4m that are written."""


class PipeResult:
    """Writes frames to standard output as they come, without sound. Such a run cannot be resumed."""

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
        """Write and flush a frame. Raises MediaError: the other program is gone, or the disk is full."""
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
        """Does nothing: no other process makes segments of a pipe."""

    def end_segment(self, segment: int) -> None:
        """Does nothing: frames are written as they come."""

    def finish(self) -> list[str]:
        """Flush standard output."""
        self._container.close()
        sys.stdout.buffer.flush()
        return []

    def rescue(self) -> Path | None:
        """None: the frames are written already, and the run cannot be resumed."""
        self.frames = 0
        return None

    def close(self) -> None:
        """Does nothing."""


class _Pipe:
    """Standard output. Adds the pixel aspect ratio to y4m's header, since PyAV cannot pass it to FFmpeg's writer."""

    def __init__(self, aspect: Fraction) -> None:
        self._stated = f" A{aspect.numerator}:{aspect.denominator} ".encode()
        self._begun = False

    def write(self, data: bytes) -> int:
        if not self._begun:
            data, self._begun = bytes(data).replace(b" A0:0 ", self._stated, 1), True
        sys.stdout.buffer.write(data)
        return len(data)
