"""A segment made on a node: what it needs comes with it, what it becomes goes back. Plain data both ways."""

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
from eden_client.film.read.sound import Doubtful
from eden_client.film.read.sources import Source
from eden_client.film.resume_journal import JOURNAL_VERSION, Entry
from eden_client.film.segment_maker import FilmTask, SegmentMaker
from eden_client.film.stages import Stage, StageTimes
from eden_client.film.write.results import Written
from media import MediaError
from tracing.spans import Span

Connect = Callable[[int], AbstractContextManager[EdenClient]]
"""The client for the segment with this number, on whatever node that is made."""


@dataclass(frozen=True)
class WholeFile:
    """All of a film's file, in objects of the cluster."""

    length: int
    """bytes of each but the last"""
    pieces: Sequence[Any]
    """references to them"""


@dataclass(frozen=True)
class SharedFile:
    """A film's file where every node sees it."""

    address: str
    """a path, or what fsspec takes (s3://...)"""


Sent = FileExcerpt | ImagesExcerpt | WholeFile | SharedFile


@dataclass(frozen=True)
class SentFilm:
    """What is the same for all segments of a film."""

    task: FilmTask
    """its source is not looked at"""
    known: Known | None
    """of a film that is a file"""
    look: VideoFormat
    rate: Fraction | None
    strict: bool
    software: Mapping[str, str]
    """that plans the film: what its segments look like depends on its versions"""


@dataclass(frozen=True)
class Made:
    """A segment that is made."""

    entry: Entry
    files: Mapping[str, bytes]
    """by name, to lie in the folder of its sinks"""
    what: Written
    times: Mapping[Stage, float]
    """seconds of stages' work"""
    traffic: Mapping[str, float]
    troubles: Sequence[ServerTrouble]
    """over which calls were tried again"""
    spans: Sequence[Span]


@dataclass(frozen=True)
class NotMade:
    """A segment that cannot be made, wherever one tries."""

    error: Exception


@dataclass(frozen=True)
class NeedsAll:
    """The excerpt does not hold all that it takes: there is no short way to its first picture, or there is damage."""


def software() -> dict[str, str]:
    """What decides how a segment is coded, and its version here."""
    return {"PyAV": av.__version__, "eden-interpolate": str(JOURNAL_VERSION)}


def make_segment(
    film: SentFilm,
    head: Sequence[Range],
    job: SegmentJob,
    sent: Sent,
    connect: Connect,
    fetch: Callable[[Any], bytes],
) -> Made | NotMade | NeedsAll:
    """Make it.

    head    what all segments need of the film's file
    fetch   gives an object of the cluster by its reference
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
    """Compare a stretch of a film. Raises Doubtful, also where more of the film is read than was sent.

    film   what is known of its file, and what all stretches need of that
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
            raise MediaError(f"{platform.node()} has {name} {here[name]}, the film is planned with {version}")


def _shared(address: str, known: Known) -> Callable[[], BinaryIO]:
    """Opens the file at an address. Raises MediaError where it is another one, or cannot be had."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MediaError(
            f"{address} needs fsspec on every node: pip install 'eden-client[cluster]' or 'eden-torchserve[cluster]'"
        ) from error
    try:
        system, path = fsspec.core.url_to_fs(address)
        size = system.size(path)
    except Exception as error:  # every kind of storage has errors of its own
        raise MediaError(f"{address} cannot be read on {platform.node()}: {error}") from error
    if size != known.size:
        raise MediaError(f"{address} has {size} bytes on {platform.node()}, INPUT has {known.size}")

    def opened() -> BinaryIO:
        file = system.open(path, "rb")
        file.name = known.name  # FFmpeg guesses by it
        return file  # type: ignore[no-any-return]

    return opened
