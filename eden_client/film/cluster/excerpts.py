"""Takes from a source the compressed bytes that a segment needs, for nodes that cannot read the source.

For a file, these are all bytes that are read when it is opened, sought to the segment's key frame, and its packets are
read. A node that does the same reads the same bytes, in any format. Only the first picture is decoded for that.
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
from eden_client.film.read.intact import skim
from eden_client.film.read.range_reader import NEAR

Range = tuple[int, bytes]
"""An offset in a file, and the bytes there."""


@dataclass(frozen=True)
class FileExcerpt:
    """What a segment needs of a film's file, beyond the file's head."""

    ranges: Sequence[Range]


@dataclass(frozen=True)
class ImagesExcerpt:
    """The pictures that a segment needs of a film of numbered pictures: names and bytes of the files, in order."""

    first: int
    """index of the first of them in the film"""
    files: Sequence[tuple[str, bytes]]


class Excerpts(Protocol):
    """Takes excerpts of a source for segments."""

    @property
    def head(self) -> Sequence[Range]:
        """What all segments need of a file; known after the first `cut`."""

    def cut(self, job: SegmentJob) -> FileExcerpt | ImagesExcerpt | None:
        """What a job needs besides the head; None: unknown, send the whole source. Raises MediaError or OSError."""


class FileExcerpts:
    """Takes excerpts of a video file for segments."""

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
    """Takes excerpts of a video file for scouts (plan/scouting.py)."""

    def __init__(self, path: Path, known: Known) -> None:
        self._path, self._known = path, known
        self.head: Sequence[Range] = ()
        """what all stretches need; known after the first `cut`"""

    def cut(self, job: ScoutJob) -> FileExcerpt:
        """What a stretch needs besides the head. Raises Doubtful or OSError."""
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
    """Takes excerpts of a film of numbered pictures."""

    head: Sequence[Range] = ()

    def __init__(self, film: ImageFilm) -> None:
        self._film = film

    def cut(self, job: SegmentJob) -> ImagesExcerpt:
        first, last = job.pictures[0].number, job.pictures[-1].number
        return ImagesExcerpt(first, [(path.name, path.read_bytes()) for path in self._film.paths(first, last)])


class Missing(OSError):
    """The bytes that are read were not sent to this node."""


class Ranges:
    """Opens a file of which only some ranges are here. `missed`: whether other bytes were read for."""

    def __init__(self, known: Known, ranges: Sequence[Range]) -> None:
        self._known, self.missed = known, False
        self._ranges = sorted(ranges, key=lambda each: each[0])
        self._starts = [start for start, _ in self._ranges]

    def open(self) -> BinaryIO:
        """Open the file, to be read once."""
        return cast(BinaryIO, _File(self._known, self._bytes))

    def _bytes(self, start: int, length: int) -> bytes:
        parts, end = list[bytes](), start + length
        while start < end:
            part = next(self._holding(start), None)
            if part is None:
                self.missed = True
                raise Missing(f"{self._known.name}: byte {start} was not sent to this node")
            parts.append(part[: end - start])
            start += len(parts[-1])
        return b"".join(parts)

    def _holding(self, at: int) -> Iterator[bytes]:
        """The bytes from offset `at` on, of each range that holds it: ranges may overlap."""
        for number in range(bisect.bisect(self._starts, at) - 1, -1, -1):
            start, data = self._ranges[number]
            if at < start + len(data):
                yield data[at - start :]


class Pieces:
    """Opens a whole file that is kept in pieces of `length` bytes, each fetched when it is read."""

    def __init__(self, known: Known, length: int, fetch: Callable[[int], bytes]) -> None:
        self._known, self._length, self._fetch = known, length, fetch
        self._held: tuple[int, bytes] = -1, b""

    def open(self) -> BinaryIO:
        """Open the file, to be read once."""
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
    """A `Source` on a node: a film's file, whose bytes `opened` returns."""

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
    """A `Source` on a node: some pictures of a film with the format `look`."""

    def __init__(self, name: str, look: VideoFormat, excerpt: ImagesExcerpt) -> None:
        self.name, self._look, self._excerpt = name, look, excerpt

    @contextmanager
    def open(self) -> Iterator[Film]:
        with tempfile.TemporaryDirectory(prefix="eden-pictures-") as folder:
            # With a pattern such as */1.png, several pictures have the same name.
            paths = [Path(folder, str(number), name) for number, (name, _) in enumerate(self._excerpt.files)]
            for path, (_, data) in zip(paths, self._excerpt.files, strict=True):
                path.parent.mkdir()
                path.write_bytes(data)
            yield PartOfImages(paths, self.name, self._look, self._excerpt.first)

    def changed(self) -> bool:
        return False


class _File(io.RawIOBase):
    """A file for FFmpeg. `read` returns bytes of it, by offset and length, which lie inside the file."""

    def __init__(self, known: Known, read: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self.name = known.name  # FFmpeg takes its ending as a hint to the format
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
    """Reads a file, and records which ranges were read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._noted = file, list[tuple[int, int]]()

    def read(self, start: int, length: int) -> bytes:
        self._noted.append((start, start + length))
        return self._at(start, length)

    def taken(self) -> list[Range]:
        """The ranges read since the last call, with adjoining ones merged."""
        joined = list[list[int]]()
        for start, stop in sorted(self._noted):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(stop, joined[-1][1])
            elif stop > start:
                joined.append([start, stop])
        self.forget()
        return [(start, self._at(start, stop - start)) for start, stop in joined]

    def forget(self) -> None:
        """Drop the ranges recorded so far."""
        self._noted = []

    def _at(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)
