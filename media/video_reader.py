"""Reads videos frame by frame: memory does not grow with their length."""

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
from media.machine import cores
from media.names import open_input
from media.truncation import missing_bytes
from media.video_headers import NoVideo, VideoHeader, read_video_header

CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""FFmpeg's names of the containers that a server reads. Others, such as playlists, can make FFmpeg open other files."""

_NO_VIDEO = "no video stream in this file"
_HEAD = 256
"""Bytes at the start of a file that contain Matroska's header."""

SCALING = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""How chroma is scaled between YUV and RGB: about half the round-trip error of FFmpeg's default."""

MOST_THREADS = 8
_PIXELS_AT_ONCE = 1 << 24
"""Pixels of all pictures that FFmpeg's threads decode at once; a larger picture is decoded by one thread."""
_ROUNDED_UP = 128
"""Pixels by which a decoder may extend a side: whole blocks, and edges."""
_SCRATCH_ROWS = 320
"""The fewest rows that a decoder is allowed: MPEG-4's needs a scratch buffer of about 280, however low the pictures."""


class Video:
    """An open video: its frames in the order shown, upright, as RGB. Made by `open_video`."""

    def __init__(
        self,
        container: InputContainer,
        max_pixels: int | None,
        max_frames: int | None,
        header: VideoHeader | None = None,
    ) -> None:
        self._max_pixels, self._max_frames, self._header = max_pixels, max_frames, header
        if not container.streams.video:
            raise MediaError(_NO_VIDEO)
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise MediaError("a video of a codec that is not known here")
        check_pixels(context.height, context.width, max_pixels)
        context.thread_type = "AUTO"
        context.thread_count = threads(context.height * context.width)
        if header is not None:
            context.options = {"max_pixels": str(_decoder_limit(header))}
        rate = stream.average_rate or stream.guessed_rate
        if not rate or rate < 0:
            raise MediaError("the video states no frame rate")
        self.rate: Fraction = Fraction(rate)
        """Average frames per second, as the file states it; `encode_video` may not accept it."""
        self._pictures = _decoded(container, stream.index)
        self._first = next(self._pictures, None)
        if self._first is None:
            raise MediaError("a video without a single frame")
        self._check(self._first)
        first = _upright(self._first)
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
            self._check(picture)
            frame = _upright(picture)
            if frame.shape[:2] != self.size:
                was, now = f"{self.size[1]}x{self.size[0]}", f"{frame.shape[1]}x{frame.shape[0]}"
                raise MediaError(f"the video changes its size from {was} to {now} at frame {count}")
            yield frame
            picture = next(self._pictures, None)

    def _check(self, picture: VideoFrame) -> None:
        check_pixels(picture.height, picture.width, self._max_pixels)
        stated = self._header
        if stated is None:
            return
        if picture.height * picture.width > stated.height * stated.width:
            size = f"{picture.width}x{picture.height}"
            raise MediaError(f"pictures of {size} in a video whose header states {stated.width}x{stated.height}")
        if picture.format.padded_bits_per_pixel > 8 * stated.pixel_bytes:
            raise MediaError(f"pictures of {picture.format.name} in a video whose header states fewer bits")


def check_pixels(height: int, width: int, max_pixels: int | None) -> None:
    """Raise MediaError if a picture has more than `max_pixels`."""
    if max_pixels is not None and width * height > max_pixels:
        raise MediaError(f"a video of {width}x{height} = {width * height} pixels; {max_pixels} are allowed")


def threads(pixels: int) -> int:
    """The number of threads that decode pictures of `pixels`. Each holds a picture of its own."""
    return max(min(_PIXELS_AT_ONCE // max(pixels, 1), MOST_THREADS, cores()), 1)


def coded_pixels(header: VideoHeader) -> int:
    """The most pixels of a picture as a decoder stores it, by this header."""
    return (header.height + _ROUNDED_UP) * (header.width + _ROUNDED_UP)


def _decoder_limit(header: VideoHeader) -> int:
    """FFmpeg's option max_pixels."""
    return max(coded_pixels(header), _SCRATCH_ROWS * (header.width + 2 * _ROUNDED_UP))


def readable_video_header(data: bytes) -> VideoHeader:
    """The header of a video. Raises MediaError: no bytes, not one of CONTAINERS, damaged, or without a video stream."""
    if not data:
        raise MediaError("a video of zero bytes")
    try:
        return read_video_header(data)
    except NoVideo as error:
        raise MediaError(_NO_VIDEO) from error
    except ValueError as error:
        raise MediaError("not a readable video, or a damaged one") from error


@contextmanager
def open_video(
    source: str | Path | bytes | BinaryIO,
    *,
    max_pixels: int | None = None,
    max_frames: int | None = None,
    containers: tuple[str, ...] | None = CONTAINERS,
) -> Iterator[Video]:
    """Open the first video stream of a file, of bytes, or of a file object.

    max_pixels   per frame; None: no limit
    max_frames   of the video; None: no limit
    containers   formats that FFmpeg may try; None: all that it knows, for a user's own files only

    Bytes, which a stranger may have sent, are passed to FFmpeg only if their header is within the limits; decoding them
    then takes no more memory than `media.peek` states.
    Raises MediaError: not a video, damaged, truncated, without a frame, or over a limit; OSError: it cannot be read.
    """
    header, options = None, dict[str, str]()
    if containers is not None:
        options = {"format_whitelist": ",".join(containers), "protocol_whitelist": "file"}
        if isinstance(source, bytes):
            header = readable_video_header(source)
            check_pixels(header.height, header.width, max_pixels)
            options["max_pixels"] = str(_decoder_limit(header))
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    head, total = _extent(source)
    if total == 0:
        raise MediaError("a video of zero bytes")
    with ExitStack() as open_:
        # On damaged files PyAV raises nearly anything beside FFmpeg's errors.
        try:
            container = open_.enter_context(open_input(source, options=options))
            missing = missing_bytes(container, head, total)
        except Exception as error:
            raise MediaError(f"not a readable video, or a damaged one ({_why(error)})") from error
        if missing:
            raise MediaError(f"a truncated video: at least {missing} of its bytes are missing")
        yield Video(container, max_pixels, max_frames, header)


def _extent(source: str | Path | BinaryIO) -> tuple[bytes, int]:
    """The first bytes of a file, and its length in bytes."""
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
    except Exception as error:
        raise MediaError(f"damaged video data ({_why(error)})") from error


def _upright(picture: VideoFrame) -> Frame:
    try:
        frame = picture.to_ndarray(format="rgb24", interpolation=SCALING).astype(np.uint8, copy=False)
    except Exception as error:
        raise MediaError(f"pictures of {picture.format.name}, which cannot be converted ({_why(error)})") from error
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame


def _why(error: Exception) -> str:
    return reason(error) if isinstance(error, (av.FFmpegError, OSError)) else type(error).__name__


def reason(error: Exception) -> str:
    """FFmpeg's description of an error, without its number and the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
