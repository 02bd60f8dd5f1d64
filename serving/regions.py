"""Shared memory regions: files in memory, made and described by a caller on this host, that hold a request's frames.

Callers may be hostile. A file is opened only in one folder, by a name that matches one pattern, and used only if it is
a regular file that only this user can open, and begins with the key that the caller names. The caller may truncate it
at any moment, which would kill a process that has mapped it: so it is never mapped, but read and written by system
calls. Only the described bytes are read or written. The file is never removed or extended: if it has become too short,
nothing more is written.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta, Struct

from eden.planes import Matrix, Range, YuvFormat
from media.frame_layout import frame_size
from media.region_format import CONTENT_TYPE, HEADER, KEY, MAGIC, NAME, region_header
from serving.errors import BadRequest, RegionUnavailable, shown

LONGEST = 4096
"""Most bytes of a description."""
STEP = 16 << 20
"""Bytes per write; before each the file's length is checked."""
FOREIGN = stat.S_IRWXG | stat.S_IRWXO

Side = Annotated[int, Meta(ge=1, le=1 << 31)]
Offset = Annotated[int, Meta(ge=HEADER, le=1 << 48)]


class Place(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place in a region: file, key and offset in bytes."""

    file: str
    key: str
    """64 hexadecimal digits: those that the region begins with"""
    offset: Offset

    @classmethod
    def of_ticket(cls, value: dict[str, Any]) -> Self:
        """Read a place from a ticket's options. Raises BadRequest."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise _unreadable(error) from error

    def check_names(self, what: str) -> None:
        """Raises BadRequest if file or key cannot be those of a region; `what`: what the message calls this place."""
        if not NAME.fullmatch(self.file):
            raise BadRequest(f"{what}.file is {shown(self.file)}: no name of a region")
        if not KEY.fullmatch(self.key):
            raise BadRequest(f"{what}.key is not 64 hexadecimal digits")


class _Described(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="layout"):
    dtype: Literal["uint8"]
    frames: Place
    answer: Place | None = None
    """where K-1 frames are written; None: they are the answer's body"""


class RgbDescription(_Described, frozen=True, tag="rgb24"):
    """A request's description of a region with RGB frames."""

    shape: tuple[Side, Side, Side, Literal[3]]
    """[K, H, W, 3], of the frames"""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), in pixels."""
        return frame_size(self.shape, "rgb24")

    @property
    def yuv(self) -> None:
        """None: the frames are RGB."""


class PlanesDescription(_Described, frozen=True, tag="i420"):
    """A request's description of a region with frames as planes."""

    shape: tuple[Side, Side, Side]
    """[K, H*3/2, W], of the frames"""
    matrix: Matrix = "bt709"
    range: Range = "limited"

    def __post_init__(self) -> None:
        frame_size(self.shape, "i420")  # what it raises is a msgspec.ValidationError here

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), in pixels."""
        return frame_size(self.shape, "i420")

    @property
    def yuv(self) -> YuvFormat:
        """Format of the planes."""
        return YuvFormat(self.matrix, self.range)


Description = RgbDescription | PlanesDescription


@dataclass(frozen=True)
class RegionSource:
    """A request's frames in a region. They have been checked, but the file may change until they are read."""

    folder: RegionFolder
    description: Description

    def read(self) -> np.ndarray:
        """Copy the frames into an array, uint8, of the described shape. Raises BadRequest, RegionUnavailable."""
        return self.folder.read(self.description.frames, self.description.shape)


@dataclass(frozen=True)
class RegionFolder:
    """The regions of this process's user in one folder."""

    path: Path

    def look_at(self, data: bytes) -> RegionSource:
        """Check a request's description of a region; no frame is read.

        Raises BadRequest, naming what is wrong with it, or RegionUnavailable if there is no such region here.
        """
        described = _parsed(data)
        described.frames.check_names("frames")
        size = math.prod(described.shape)
        with self._opened(described.frames, size):
            pass
        if described.answer is not None:
            described.answer.check_names("answer")
            room = size - math.prod(described.shape[1:])
            if described.answer.file == described.frames.file:
                _check_apart(described.frames.offset, size, described.answer.offset, room)
            with self._opened(described.answer, room):
                pass
        return RegionSource(self, described)

    def read(self, place: Place, shape: tuple[int, ...]) -> np.ndarray:
        """Copy an array, uint8 of this shape, from a region. Raises BadRequest, RegionUnavailable."""
        made = np.empty(shape, np.uint8)
        left = made.reshape(-1).data
        with self._opened(place, made.nbytes) as file:
            at = place.offset
            while left:
                count = os.preadv(file, [left], at)
                if count == 0:
                    raise BadRequest("the region was cut short while it was read")
                left, at = left[count:], at + count
        return made

    def write(self, place: Place, frames: np.ndarray, first: int = 0) -> bytes:
        """Write `frames`, uint8 [n, H, W, 3] or planes [n, H*3/2, W], as the answer's frames from number `first` on.

        Returns the body of the answer: JSON that says what was written. Raises BadRequest, RegionUnavailable.
        """
        offset = place.offset + first * math.prod(frames.shape[1:])
        left = np.ascontiguousarray(frames).reshape(-1).data
        at, end = offset, offset + frames.nbytes
        with self._opened(place, end - place.offset) as file:
            while left:
                if os.fstat(file).st_size < end:
                    raise BadRequest("the region was cut short while it was written")
                try:
                    count = os.pwrite(file, left[:STEP], at)
                except OSError as error:
                    raise RegionUnavailable(f"the region cannot be written: {error.strerror}") from error
                left, at = left[count:], at + count
        layout = "i420" if frames.ndim == 3 else "rgb24"
        answer = {"layout": layout, "dtype": "uint8", "shape": frames.shape, "offset": offset, "first": first}
        return json.dumps(answer).encode()

    @contextlib.contextmanager
    def _opened(self, place: Place, nbytes: int) -> Iterator[int]:
        """Open a region, if it may be used and has `nbytes` bytes at this place; yields its file descriptor."""
        place.check_names("region")
        file = self._open(place.file)
        try:
            held = os.fstat(file)
            if not stat.S_ISREG(held.st_mode):
                raise BadRequest("the region is no plain file")
            if held.st_uid != os.geteuid():
                raise RegionUnavailable("the region belongs to another user than the server's")
            if held.st_mode & FOREIGN:
                raise BadRequest(
                    f"the region's mode is {held.st_mode & 0o777:o}: nobody but its owner may open it (600)"
                )
            if held.st_nlink != 1:
                raise BadRequest(f"the region has {held.st_nlink} names: it has to have one")
            wanted = region_header(bytes.fromhex(place.key))
            if not hmac.compare_digest(os.pread(file, len(wanted), 0), wanted):
                raise BadRequest(f"the region does not begin with {MAGIC[:11].decode()} and the key that is named")
            if held.st_size < place.offset + nbytes:
                raise BadRequest(
                    f"the region has {held.st_size} bytes, too few for {nbytes} of them from {place.offset} on"
                )
            yield file
        finally:
            os.close(file)

    def _open(self, name: str) -> int:
        try:
            # O_NONBLOCK: opening a pipe would otherwise wait for its other end
            return os.open(self.path / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise BadRequest("the region is a link") from None
            if error.errno == errno.EISDIR:
                raise BadRequest("the region is no plain file") from None
            raise RegionUnavailable(
                f"no such region that the server can open ({error.strerror}): send the frames in the body"
            ) from error


def is_region(content_type: str) -> bool:
    """Whether a request with this content type describes a region."""
    return content_type.partition(";")[0].strip().lower() == CONTENT_TYPE


def look_at_region(data: bytes, folder: RegionFolder | None) -> RegionSource:
    """Check a description; `folder` is None if regions are not accepted. Raises BadRequest, RegionUnavailable."""
    if folder is None:
        raise RegionUnavailable("this server takes no shared memory regions: send the frames in the body")
    return folder.look_at(data)


def _parsed(data: bytes) -> Description:
    if len(data) > LONGEST:
        raise BadRequest(f"a region's description of {len(data)} bytes: at most {LONGEST} are read")
    try:
        return msgspec.json.decode(data, type=RgbDescription | PlanesDescription)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> BadRequest:
    return BadRequest(f"the region's description: {str(error).replace('`', '').replace('$.', '')}")


def _check_apart(frames: int, size: int, answer: int, room: int) -> None:
    if frames < answer + room and answer < frames + size:
        raise BadRequest(
            f"the answer, {room} bytes from {answer} on, would overwrite the frames: {size} from {frames} on"
        )
