"""Many films at once: a folder of films in, a folder of films out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from eden_client.film.read.image_film import ENDINGS
from eden_client.film.write.encoding import CONTAINERS
from media import MediaError

_FILMS = (
    *(*CONTAINERS, ".gif", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob", ".flv", ".wmv", ".ogv", ".3gp"),
    *(".y4m", ".mxf"),
)
"""Endings of what counts as a film in a folder."""
_WRITTEN = (*CONTAINERS, ".gif")
AT_ONCE = 4
"""Films that are planned and joined at once; their segments share the cluster."""


@dataclass(frozen=True)
class InOut:
    """A film, and the file that its result becomes."""

    source: Path
    target: Path


def films_in(source: str, target: str) -> list[InOut]:
    """The films in the folder `source`, sorted by name; none if it is not a folder, or one that holds pictures.

    Each goes to the folder `target` under its own name; a kind of file that cannot be written becomes .mkv
    (clip.avi.mkv). Raises MediaError where `target` cannot be a folder, or is `source`.
    """
    folder, into = Path(source), Path(target)
    if not folder.is_dir():
        return []
    files = sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
    films = [each for each in files if each.suffix.lower() in _FILMS]
    if not films or any(each.suffix.lower() in ENDINGS for each in files):
        return []
    if into.suffix and not (target.endswith("/") or into.is_dir()):
        raise MediaError(f"{target}: {source} holds films, so OUTPUT must be a folder (with a / at its end)")
    if not into.absolute().parent.is_dir():
        raise MediaError(f"{into.absolute().parent}: no such folder")
    if into.absolute().resolve() == folder.resolve():
        raise MediaError(f"{target}: OUTPUT must not be the folder that the films are read from")
    into.mkdir(exist_ok=True)
    names = (each.name if each.suffix.lower() in _WRITTEN else f"{each.name}.mkv" for each in films)
    return [InOut(each, into / name) for each, name in zip(films, names, strict=True)]


def make_all(films: Sequence[InOut], make: Callable[[InOut], int], stop: threading.Event) -> int:
    """Call `make` for each film, a few at once. Returns the largest of its exit codes.

    stop   is set when this is interrupted; `make` is to end then, and is waited for

    Raises what `make` raises, once the other films are made.
    """
    with ThreadPoolExecutor(AT_ONCE, "film") as pool:
        made = [pool.submit(make, film) for film in films]
        try:
            wait(made)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return max((each.result() for each in made), default=0)
