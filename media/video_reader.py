"""Videos to frames, one at a time: memory does not grow with the film."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from media.errors import MediaError
from media.images import Frame
from media.names import open_input
from media.truncation import missing_bytes

CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""FFmpeg's names of the containers a server reads. Others (playlists above all) can name files to open."""

_HEAD = 256
"""Bytes that hold a Matroska file's header."""

SCALING = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""How chroma is scaled between YUV and RGB: about half the round-trip error of FFmpeg's default."""


class Video:
    """An open video: its frames in the order shown, upright, as RGB. Made by `open_video`."""

    def __init__(self, container: InputContainer, max_pixels: int | None, max_frames: int | None) -> None:
        self._max_pixels, self._max_frames = max_pixels, max_frames
        if not container.streams.video:
            raise MediaError("no video stream in this file")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        self._check_pixels(stream.codec_context.width, stream.codec_context.height)
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise MediaError("the video states no frame rate")
        self._pictures = _decoded(container, stream.index)
        self._first = next(self._pictures, None)
        if self._first is None:
            raise MediaError("a video without a single frame")
        first = _upright(self._first)
        self.rate: Fraction = Fraction(rate)
        """Frames a second, on average."""
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        """(H, W) as shown, after rotation."""

    def frames(self) -> Iterator[Frame]:
        """Each frame [H, W, 3] in turn; to be called once.

        Raises MediaError: damaged data, more than the frames allowed, or a change of size in mid-stream.
        """
        picture, count = self._first, 0
        self._first = None
        while picture is not None:
            count += 1
            if self._max_frames is not None and count > self._max_frames:
                raise MediaError(f"a video of more than the {self._max_frames} frames allowed")
            self._check_pixels(picture.width, picture.height)
            frame = _upright(picture)
            if frame.shape[:2] != self.size:
                was, now = f"{self.size[1]}x{self.size[0]}", f"{frame.shape[1]}x{frame.shape[0]}"
                raise MediaError(f"the video changes its size from {was} to {now} at frame {count}")
            yield frame
            picture = next(self._pictures, None)

    def _check_pixels(self, width: int, height: int) -> None:
        if self._max_pixels is not None and width * height > self._max_pixels:
            raise MediaError(f"a video of {width}x{height} = {width * height} pixels; {self._max_pixels} are allowed")


@contextmanager
def open_video(
    source: str | Path | bytes | BinaryIO,
    *,
    max_pixels: int | None = None,
    max_frames: int | None = None,
    containers: tuple[str, ...] | None = CONTAINERS,
) -> Iterator[Video]:
    """The first video stream of a file, of bytes, or of a file object. `max_pixels` is for one frame.

    `containers` limits what FFmpeg may take the data for (None: everything it knows, for a user's own files only).
    Raises MediaError: not a video, damaged, cut short, without a frame, or over a limit (size is told from the header);
    OSError where the file cannot be read.
    """
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    head, total = _extent(source)
    if total == 0:
        raise MediaError("a video of zero bytes")
    options = {} if containers is None else {"format_whitelist": ",".join(containers), "protocol_whitelist": "file"}
    with ExitStack() as open_:
        try:
            container = open_.enter_context(open_input(source, options=options))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"not a readable video, or a damaged one ({reason(error)})") from error
        missing = missing_bytes(container, head, total)
        if missing:
            raise MediaError(f"a truncated video: at least {missing} of its bytes are missing")
        yield Video(container, max_pixels, max_frames)


def _extent(source: str | Path | BinaryIO) -> tuple[bytes, int]:
    """The first bytes of a file and its length."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return _extent(file)
    head = source.read(_HEAD)
    total = source.seek(0, io.SEEK_END)
    source.seek(0)
    return head, total


def _decoded(container: InputContainer, index: int) -> Iterator[VideoFrame]:
    try:
        for picture in container.decode(container.streams[index]):
            assert isinstance(picture, VideoFrame)
            yield picture
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"damaged video data ({reason(error)})") from error


def _upright(picture: VideoFrame) -> Frame:
    frame = picture.to_ndarray(format="rgb24", interpolation=SCALING).astype(np.uint8, copy=False)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame


def reason(error: Exception) -> str:
    """What FFmpeg says went wrong, without its numbers and file names."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
