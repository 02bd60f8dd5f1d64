"""Makes a segment on a node: what it needs is sent along, and its files are sent back, both as data for pickle."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av

from eden_client.api.client import EdenClient
from eden_client.api.errors import ServerTrouble
from eden_client.film.cluster.excerpts import (
    FileExcerpt,
    FileOpened,
    ImagesExcerpt,
    ImagesOpened,
    Pieces,
    Range,
    Ranges,
)
from eden_client.film.jobs import SegmentJob
from eden_client.film.messages import portable
from eden_client.film.plan.scouting import Scouted, ScoutJob
from eden_client.film.read.film import VideoFormat
from eden_client.film.read.film_file import Known
from eden_client.film.read.intact import Doubtful
from eden_client.film.read.sources import Source
from eden_client.film.resume_journal import JOURNAL_VERSION, Entry
from eden_client.film.segment_maker import FilmTask, SegmentMaker
from eden_client.film.stages import Stage, StageTimes
from eden_client.film.write.results import Written
from media import MediaError
from tracing.spans import Span

Connect = Callable[[int], AbstractContextManager[EdenClient]]
"""Makes the client for the segment with this index, on the node that makes the segment."""


@dataclass(frozen=True)
class WholeFile:
    """All of a film's file, as objects of the cluster."""

    length: int
    """bytes per object, except the last"""
    pieces: Sequence[Any]
    """references to these objects"""


@dataclass(frozen=True)
class SharedFile:
    """A film's file that every node can read."""

    address: str
    """a path, or an address for fsspec (s3://...)"""


Sent = FileExcerpt | ImagesExcerpt | WholeFile | SharedFile


@dataclass(frozen=True)
class SentFilm:
    """What all segments of a film share."""

    task: FilmTask
    """its source is not used"""
    known: Known | None
    """the facts about the film's file; None: it is no file"""
    look: VideoFormat
    rate: Fraction | None
    strict: bool
    software: Mapping[str, str]
    """of the process that plans the film, as `software` returns it: the encoded bytes depend on these versions"""


@dataclass(frozen=True)
class Made:
    """A finished segment."""

    entry: Entry
    files: Mapping[str, bytes]
    """bytes by name, to be written to the folder of the film's sinks"""
    what: Written
    times: Mapping[Stage, float]
    """seconds of work per stage"""
    traffic: Mapping[str, float]
    troubles: Sequence[ServerTrouble]
    """errors after which calls were tried again"""
    spans: Sequence[Span]


@dataclass(frozen=True)
class NotMade:
    """A segment that cannot be made on any node."""

    error: Exception


@dataclass(frozen=True)
class NeedsAll:
    """The excerpt is not enough: the file cannot be sought to the segment's first picture, or is damaged."""


def software() -> dict[str, str]:
    """The versions on this machine of all that decides how a segment is encoded, by name."""
    return {"PyAV": av.__version__, "eden-interpolate": str(JOURNAL_VERSION)}


def make_segment(
    film: SentFilm,
    head: Sequence[Range],
    job: SegmentJob,
    sent: Sent,
    connect: Connect,
    fetch: Callable[[Any], bytes],
) -> Made | NotMade | NeedsAll:
    """Make a segment.

    head    what all segments need of the film's file
    sent    the excerpt for this one, or the whole file
    fetch   returns an object of the cluster by its reference
    """
    ranges: Ranges | None = None
    try:
        _check_software(film.software)
        source: Source
        if isinstance(sent, ImagesExcerpt):
            source = ImagesOpened(film.task.source.name, film.look, sent)
        else:
            assert film.known is not None
            if isinstance(sent, FileExcerpt):
                ranges = Ranges(film.known, [*head, *sent.ranges])
                opened: Callable[[], BinaryIO] = ranges.open
            elif isinstance(sent, WholeFile):
                opened = Pieces(film.known, sent.length, lambda number: fetch(sent.pieces[number])).open
            else:
                opened = _shared(sent.address, film.known)
            source = FileOpened(film.known, film.rate, film.strict, opened)
        with tempfile.TemporaryDirectory(prefix="eden-segment-") as folder, connect(job.number) as client:
            made = _made(replace(film.task, source=source), job, Path(folder), client)
    except Exception as error:
        return NeedsAll() if ranges and ranges.missed else NotMade(portable(error))
    return NeedsAll() if ranges and ranges.missed else made


def look_at(film: tuple[Known, Sequence[Range]], job: ScoutJob, sent: FileExcerpt) -> list[Scouted]:
    """Compare a stretch of a film. Raises Doubtful: it is irregular, or more of the film is needed than was sent.

    film   the facts about its file, and the ranges that all stretches need
    """
    known, head = film
    ranges = Ranges(known, [*head, *sent.ranges])
    found = job.run(ranges.open())
    if ranges.missed:
        raise Doubtful
    return found


def _made(task: FilmTask, job: SegmentJob, folder: Path, client: EdenClient) -> Made:
    troubles, written, times = list[ServerTrouble](), [Written(0.0, frames=0)], StageTimes()
    client.on_trouble = troubles.append

    def wrote(what: Written) -> None:
        written[0] += what

    into = folder / task.sinks.folder.name
    into.mkdir()
    before = client.traffic.counts()
    maker = SegmentMaker(replace(task, sinks=task.sinks.into(into)), client, wrote, times)
    try:
        entry = maker.make(job)
    finally:
        maker.close()
    traffic = {name: value - before[name] for name, value in client.traffic.counts().items()}
    files = {path.name: path.read_bytes() for path in sorted(into.iterdir())}
    spans = client.trace.taken() if client.trace else ()
    return Made(entry, files, written[0], times.taken(), traffic, troubles, spans)


def _check_software(wanted: Mapping[str, str]) -> None:
    here = software()
    for name, version in wanted.items():
        if here[name] != version:
            raise MediaError(f"{platform.node()} has {name} {here[name]}, but the film is planned with {version}")


def _shared(address: str, known: Known) -> Callable[[], BinaryIO]:
    """A function that opens the file at an address. Raises MediaError: it is another file, or cannot be read."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MediaError(
            f"{address} needs fsspec on every node: pip install 'path/to/checkout/packaging/eden-client[cluster]', or "
            "beside the server 'path/to/checkout[cluster]'"
        ) from error
    try:
        system, path = fsspec.core.url_to_fs(address)
        size = system.size(path)
    except Exception as error:  # every kind of storage raises errors of its own
        raise MediaError(f"{address} cannot be read on {platform.node()}: {error}") from error
    if size != known.size:
        raise MediaError(f"{address} has {size} bytes on {platform.node()}, INPUT has {known.size}")

    def opened() -> BinaryIO:
        file = system.open(path, "rb")
        file.name = known.name  # FFmpeg takes its ending as a hint to the format
        return file  # type: ignore[no-any-return]

    return opened
