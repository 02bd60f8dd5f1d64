"""The part of a source that a segment is made of, for nodes that do not see the source: its compressed bytes, as is.

Of a file, that is whatever is read of it in opening it, in going to a segment's key frame and in taking its packets:
a node that does the same finds the same bytes, in any format. Nothing is decoded for it but a first picture.
"""

from __future__ import annotations

import bisect
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from eden_client.film.jobs import SegmentJob
from eden_client.film.plan.scouting import ScoutJob
from eden_client.film.read.film import Film, VideoFormat
from eden_client.film.read.film_file import FilmFile, Known, open_film_file
from eden_client.film.read.image_film import ImageFilm, PartOfImages
from eden_client.film.read.range_reader import NEAR
from eden_client.film.read.sound import skim

Range = tuple[int, bytes]
"""Where bytes lie in a file, and they themselves."""


@dataclass(frozen=True)
class FileExcerpt:
    """What a segment needs of a film's file, and is not in the file's head."""

    ranges: Sequence[Range]


@dataclass(frozen=True)
class ImagesExcerpt:
    """The pictures that a segment needs, of a film that is a row of them: names and files' bytes, in order."""

    first: int
    """number of the first of them in the film"""
    files: Sequence[tuple[str, bytes]]


class Excerpts(Protocol):
    """Takes from a source what segments need of it."""

    @property
    def head(self) -> Sequence[Range]:
        """What all segments need of a file; known once a job was cut."""

    def cut(self, job: SegmentJob) -> FileExcerpt | ImagesExcerpt | None:
        """What a job needs beside the head; None: all of it, for all one knows. Raises MediaError, OSError."""


class FileExcerpts:
    """Of a video file."""

    def __init__(self, path: Path, known: Known, rate: Fraction | None, strict: bool) -> None:
        self._path, self._known, self._rate, self._strict = path, known, rate, strict
        self.head: Sequence[Range] = ()

    def cut(self, job: SegmentJob) -> FileExcerpt | None:
        stamps = [each.stamp for each in job.pictures if each.stamp is not None]
        if len(stamps) < len(job.pictures):
            return None
        with self._path.open("rb", buffering=0) as file:
            recorder = _Recorder(file)
            source = cast(BinaryIO, _File(self._known, recorder.read))
            with open_film_file(source, rate=self._rate, strict=self._strict, known=self._known) as film:
                if self.head:
                    recorder.forget()
                else:
                    self.head = recorder.taken()
                if job.pictures[0].number > NEAR and not film.seek(stamps[0]):
                    return None
                film.skim(max(stamps))
            return FileExcerpt(recorder.taken())


class StretchExcerpts:
    """Of a video file, for scouts (plan/scouting.py)."""

    def __init__(self, path: Path, known: Known) -> None:
        self._path, self._known = path, known
        self.head: Sequence[Range] = ()
        """what all stretches need, known once one was cut"""

    def cut(self, job: ScoutJob) -> FileExcerpt:
        """What a stretch needs beside the head. Raises Doubtful, OSError."""
        with self._path.open("rb", buffering=0) as file:
            recorder = _Recorder(file)

            def once_opened() -> None:
                if self.head:
                    recorder.forget()
                else:
                    self.head = recorder.taken()

            skim(cast(BinaryIO, _File(self._known, recorder.read)), job.stream, job.stretch, once_opened)
            return FileExcerpt(recorder.taken())


class ImageExcerpts:
    """Of numbered pictures."""

    head: Sequence[Range] = ()

    def __init__(self, film: ImageFilm) -> None:
        self._film = film

    def cut(self, job: SegmentJob) -> ImagesExcerpt:
        first, last = job.pictures[0].number, job.pictures[-1].number
        return ImagesExcerpt(first, [(path.name, path.read_bytes()) for path in self._film.paths(first, last)])


class Missing(OSError):
    """What is read lies in no range that is here."""


class Ranges:
    """Opens a file of which only some ranges are there. `missed`: whether anything else was wanted."""

    def __init__(self, known: Known, ranges: Sequence[Range]) -> None:
        self._known, self.missed = known, False
        self._ranges = sorted(ranges, key=lambda each: each[0])
        self._starts = [start for start, _ in self._ranges]

    def open(self) -> BinaryIO:
        """For one reading."""
        return cast(BinaryIO, _File(self._known, self._bytes))

    def _bytes(self, start: int, length: int) -> bytes:
        parts, end = list[bytes](), start + length
        while start < end:
            part = next(self._holding(start), None)
            if part is None:
                self.missed = True
                raise Missing(f"{self._known.name}: byte {start} is not here")
            parts.append(part[: end - start])
            start += len(parts[-1])
        return b"".join(parts)

    def _holding(self, at: int) -> Iterator[bytes]:
        """What there is from a place on, by the ranges that hold it: they may overlap."""
        for number in range(bisect.bisect(self._starts, at) - 1, -1, -1):
            start, data = self._ranges[number]
            if at < start + len(data):
                yield data[at - start :]


class Pieces:
    """Opens a whole file that lies in pieces of equal length, each fetched when it is wanted."""

    def __init__(self, known: Known, length: int, fetch: Callable[[int], bytes]) -> None:
        self._known, self._length, self._fetch = known, length, fetch
        self._held: tuple[int, bytes] = -1, b""

    def open(self) -> BinaryIO:
        """For one reading."""
        return cast(BinaryIO, _File(self._known, self._bytes))

    def _bytes(self, start: int, length: int) -> bytes:
        parts, end = list[bytes](), start + length
        while start < end:
            number, within = divmod(start, self._length)
            if self._held[0] != number:
                self._held = number, self._fetch(number)
            parts.append(self._held[1][within : within + end - start])
            start += len(parts[-1])
        return b"".join(parts)


class FileOpened:
    """A film's file on a node, whose bytes `opened` gives. Fulfils Source."""

    def __init__(self, known: Known, rate: Fraction | None, strict: bool, opened: Callable[[], BinaryIO]) -> None:
        self.name = known.name
        self._known, self._rate, self._strict, self._opened = known, rate, strict, opened

    @contextmanager
    def open(self) -> Iterator[FilmFile]:
        with (
            self._opened() as file,
            open_film_file(file, rate=self._rate, strict=self._strict, known=self._known) as film,
        ):
            yield film

    def changed(self) -> bool:
        return False


class ImagesOpened:
    """Some pictures on a node. Fulfils Source.

    look  of the film's pictures
    """

    def __init__(self, name: str, look: VideoFormat, excerpt: ImagesExcerpt) -> None:
        self.name, self._look, self._excerpt = name, look, excerpt

    @contextmanager
    def open(self) -> Iterator[Film]:
        with tempfile.TemporaryDirectory(prefix="eden-pictures-") as folder:
            # Of a pattern such as */1.png, several have one name.
            paths = [Path(folder, str(number), name) for number, (name, _) in enumerate(self._excerpt.files)]
            for path, (_, data) in zip(paths, self._excerpt.files, strict=True):
                path.parent.mkdir()
                path.write_bytes(data)
            yield PartOfImages(paths, self.name, self._look, self._excerpt.first)

    def changed(self) -> bool:
        return False


class _File(io.RawIOBase):
    """A file for FFmpeg. `read` gives so many of its bytes from a place on, all of which the file has."""

    def __init__(self, known: Known, read: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self.name = known.name  # its ending is a hint to the format
        self._size, self._bytes, self._place = known.size, read, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._place)
        data = self._bytes(self._place, left if size < 0 else min(size, left))
        self._place += len(data)
        return data


class _Recorder:
    """Reads a file, and notes what."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._noted = file, list[tuple[int, int]]()

    def read(self, start: int, length: int) -> bytes:
        self._noted.append((start, start + length))
        return self._at(start, length)

    def taken(self) -> list[Range]:
        """What was read since it was last asked, put together where it meets."""
        joined = list[list[int]]()
        for start, stop in sorted(self._noted):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(stop, joined[-1][1])
            elif stop > start:
                joined.append([start, stop])
        self.forget()
        return [(start, self._at(start, stop - start)) for start, stop in joined]

    def forget(self) -> None:
        """What was read until now is not wanted."""
        self._noted = []

    def _at(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)
