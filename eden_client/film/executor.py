"""What makes the segments of a film, and what it reports: the protocols of executors and of their observers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Protocol

from eden_client.api.errors import ServerTrouble
from eden_client.film.jobs import SegmentJob
from eden_client.film.order import Order
from eden_client.film.plan.scouting import Scouted, ScoutJob
from eden_client.film.read.film import Film
from eden_client.film.resume_journal import Entry
from eden_client.film.segment_maker import FilmTask
from eden_client.film.stages import Stage
from eden_client.film.write.results import Written
from eden_client.trace.recording import Trace


class Observer(Protocol):
    """Is told of the progress of the segments, by one thread."""

    def joined(self) -> None:
        """One more process is at work. This is not called for one that takes the place of a lost one."""

    def finished(self, entry: Entry, traffic: dict[str, float]) -> None:
        """A segment is finished. `traffic`: counts of requests and bytes of the process that made it."""

    def wrote(self, what: Written, times: Mapping[Stage, float]) -> None:
        """Frames are encoded, or an encoder was flushed. `times`: seconds of work per other stage, meanwhile."""

    def lost(self, frames: int) -> None:
        """`frames` that were encoded have to be made again."""

    def trouble(self, error: ServerTrouble) -> None:
        """A call failed, and is tried again."""

    def note(self, text: str) -> None:
        """A note for the user, one line."""


class Executor(Protocol):
    """Makes the segments of a film."""

    @property
    def at_once(self) -> int:
        """Most segments that are made at the same time."""

    def scout(self, job: ScoutJob) -> Future[list[Scouted]]:
        """Have a stretch of the film compared while `run` goes on. Thread-safe."""

    def run(self, task: FilmTask, jobs: Iterator[SegmentJob], observer: Observer) -> None:
        """Make all segments, in any order. Raises what `jobs` raises, and MediaError, EdenError or OSError."""


class Cluster(Protocol):
    """Machines that make the segments of films."""

    @property
    def side_by_side(self) -> int:
        """Most segments that one machine makes at the same time."""

    def executor(self, film: Film, order: Order, trace: Trace | None) -> Executor:
        """An executor for a film. Raises MediaError: the film is of a kind that cannot be sent in parts."""
