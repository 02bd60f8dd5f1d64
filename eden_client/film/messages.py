"""The messages between a program and the processes that make its film's segments: pickles on pipes."""

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
    """To a process: the first message."""

    task: FilmTask
    connect: Callable[[], EdenClient]
    """makes the client"""


@dataclass(frozen=True)
class Ready:
    """From a process: it has started, and takes jobs."""


@dataclass(frozen=True)
class Wrote:
    """From a process: frames are encoded, or an encoder was flushed."""

    what: Written
    times: dict[Stage, float]
    """seconds of work per other stage, since the last such message of this process"""


@dataclass(frozen=True)
class Trouble:
    """From a process: a call failed, and is tried again."""

    error: ServerTrouble


@dataclass(frozen=True)
class Saw:
    """From a process: a stretch of the film has been compared."""

    found: list[Scouted] | None
    """None: the stretch is irregular"""


@dataclass(frozen=True)
class Finished:
    """From a process: a segment is finished."""

    entry: Entry
    traffic: dict[str, float]
    """counts of requests and bytes (`Traffic`), since the last such message of this process"""
    spans: Sequence[Span] = ()
    """spans of a trace, since the last such message of this process"""


@dataclass(frozen=True)
class Failed:
    """From a process: a segment cannot be made."""

    error: Exception


Message = Ready | Wrote | Trouble | Saw | Finished | Failed


def portable(error: Exception) -> Exception:
    """The error, if it can be pickled and unpickled; else one with its text."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # unpickling calls the error's class, which may raise anything
        pass
    return MediaError(str(error))
