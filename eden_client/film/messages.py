"""What a program and the processes that make its film's segments tell each other: pickles on pipes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eden_client.api.client import EdenClient
from eden_client.api.errors import ServerTrouble
from eden_client.film.plan.scouting import Scouted
from eden_client.film.resume_journal import Entry
from eden_client.film.segment_maker import FilmTask
from eden_client.film.stages import Stage
from eden_client.film.write.results import Written
from media import MediaError
from tracing.spans import Span


@dataclass(frozen=True)
class Start:
    """The first thing that a process is told."""

    task: FilmTask
    connect: Callable[[], EdenClient]
    """makes the client"""


@dataclass(frozen=True)
class Ready:
    """The process has started, and makes what it is told to."""


@dataclass(frozen=True)
class Wrote:
    """Frames are encoded, or what an encoder held back."""

    what: Written
    times: dict[Stage, float]
    """seconds of other stages' work in this process since it last told"""


@dataclass(frozen=True)
class Trouble:
    """A call is tried again."""

    error: ServerTrouble


@dataclass(frozen=True)
class Saw:
    """A stretch of the film is looked at."""

    found: list[Scouted] | None
    """None: there is something doubtful in it"""


@dataclass(frozen=True)
class Finished:
    """A segment is made."""

    entry: Entry
    traffic: dict[str, float]
    """of this process since it last told"""
    spans: Sequence[Span] = ()
    """likewise"""


@dataclass(frozen=True)
class Failed:
    """A segment cannot be made."""

    error: Exception


Message = Ready | Wrote | Trouble | Saw | Finished | Failed


def portable(error: Exception) -> Exception:
    """The error, if it comes through a pickle whole; else its words."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # whatever a class makes of it
        pass
    return MediaError(str(error))
