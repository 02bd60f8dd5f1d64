"""Which files are accepted as films, their media types, and whether a browser's <video> plays them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from eden_client.film.read.animation import is_animation
from eden_client.film.read.streams import film_stream
from media import MediaError
from media.names import open_input

KINDS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf"),
    *("mxf", "nut", "gif", "apng", "ivf", "yuv4mpegpipe", "dv", "rm", "wtv", "h264", "hevc", "m4v", "mpegvideo"),
)
"""FFmpeg's names of the accepted formats: each is a film in one file."""

UNKNOWN = "application/octet-stream"
_TYPES = {
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "flv": "video/x-flv",
    "ogg": "video/ogg",
    "asf": "video/x-ms-asf",
    "gif": "image/gif",
    "apng": "image/apng",
    "mxf": "application/mxf",
}
"""Media types by FFmpeg's name of the container, for containers with only one type."""
_PLAYED = {
    "video/mp4": ({"h264", "vp9", "av1"}, {"aac", "mp3", "opus", "flac"}),
    "video/webm": ({"vp8", "vp9", "av1"}, {"opus", "vorbis"}),
}
"""Codecs of video and of sound that all current browsers play, by media type."""
_PLAYED_PIXELS = ("yuv420p", "yuvj420p")
_WEBM = b"\x42\x82\x84webm"
"""EBML's DocType, as the head of a WebM file has it; a Matroska file's is "matroska"."""


@dataclass(frozen=True)
class Kind:
    """The kind of an accepted film file."""

    media_type: str
    playable: bool
    """every browser plays it, with its sound"""


def kind_of(path: Path) -> Kind:
    """The kind of a file. Raises MediaError: not an accepted film (playlists are not); OSError: it cannot be read."""
    if is_animation(path):
        with Image.open(path) as image:
            return Kind(image.get_format_mimetype() or UNKNOWN, False)
    try:
        with open_input(path, options={"format_whitelist": ",".join(KINDS)}) as container:
            media_type = _media_type(container, path)
            return Kind(media_type, _is_played(container, media_type))
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            "this file is not a film of an accepted kind: mp4, mov, mkv, webm, avi, ts, gif, ..."
        ) from error


def _media_type(container: InputContainer, path: Path) -> str:
    names = container.format.name.split(",")
    if "mp4" in names:
        return "video/quicktime" if container.metadata.get("major_brand", "qt  ") == "qt  " else "video/mp4"
    if "matroska" in names:
        with path.open("rb") as file:
            return "video/webm" if _WEBM in file.read(64) else "video/x-matroska"
    return _TYPES.get(names[0], UNKNOWN)


def _is_played(container: InputContainer, media_type: str) -> bool:
    pictures, sounds = _PLAYED.get(media_type, (set[str](), set[str]()))
    film = film_stream(container)
    if film is None or _codec(film) not in pictures or film.codec_context.pix_fmt not in _PLAYED_PIXELS:
        return False
    return all(_codec(stream) in sounds for stream in container.streams.audio)


def _codec(stream: VideoStream | AudioStream) -> str:
    """FFmpeg's name of the codec, whatever decodes it; nothing where FFmpeg knows none, as PyAV's types do not say."""
    context: CodecContext | None = stream.codec_context
    return "" if context is None else context.codec.canonical_name
