"""OUTPUT: a video file, a GIF, a folder of pictures, raw y4m to standard output, or one picture that compares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from eden_client.folder_result import FORMATS, FolderResult
from eden_client.order import Order
from eden_client.pipe_result import PipeResult, piped_format
from eden_client.results import Result, Timing
from eden_client.sources import PIPE
from eden_client.video_result import VideoResult
from eden_client.workshop import open_workshop
from media import MediaError
from media.encoding import CONTAINERS, Encoding, choose_encoding
from media.film import Film, Look


class Kind(Enum):
    """Of what kind a result is."""

    VIDEO = "video"
    GIF = "gif"
    FOLDER = "folder"
    PICTURE = "picture"
    PIPE = "pipe"


def kind_of(target: str) -> Kind:
    """By OUTPUT's name. Raises MediaError: none that is known."""
    path = Path(target)
    if target == PIPE:
        return Kind.PIPE
    if re.search(r"%0?\d*d", path.name) or target.endswith("/") or path.is_dir() or not path.suffix:
        return Kind.FOLDER
    ending = path.suffix.lower()
    if ending in CONTAINERS:
        return Kind.VIDEO
    if ending == ".gif":
        return Kind.GIF
    if ending in FORMATS:
        return Kind.PICTURE
    known = ", ".join([*CONTAINERS, ".gif"])
    raise MediaError(
        f"{target}: unknown kind of file {ending!r}; known are {known}, a folder/ of pictures, and - for y4m"
    )


def check_target(order: Order) -> None:
    """Refuse what would end badly, before any work. Raises MediaError."""
    kind, path = kind_of(order.target), Path(order.target)
    if kind is Kind.PIPE:
        if order.resume:
            raise MediaError("what went to standard output is gone: there is nothing to resume")
        return
    if kind is Kind.PICTURE and not order.compare:
        raise MediaError(f"{order.target}: a single picture is made by --compare only; pictures go to a folder/")
    place = _folder(order.target) if kind is Kind.FOLDER else path
    if not order.overwrite and (any(place.iterdir()) if place.is_dir() else place.exists()):
        raise MediaError(f"{place} is there already: --overwrite replaces it")
    if not place.absolute().parent.is_dir():
        raise MediaError(f"{place.parent}: there is no such folder")


def open_result(
    order: Order, film: Film, look: Look, timing: Timing, fingerprint: Mapping[str, Any]
) -> tuple[Result, list[str]]:
    """Where the frames go, and what a user should know about it. Raises MediaError or WorkshopError."""
    kind = kind_of(order.target)
    if kind is Kind.PIPE:
        notes = ["sound is left out: y4m holds pictures alone"] if film.container else []
        return PipeResult(look, piped_format(look, order.pixel_format), timing), notes
    if kind is Kind.FOLDER:
        place, notes = _folder(order.target), []
        if look.bits > 8:
            notes.append(f"{look.bits} bits a colour become 8 in these pictures")
    else:
        place = Path(order.target)
        encoding, notes = _encoding(order, look, kind)
    workshop = open_workshop(place, fingerprint, order.resume, order.overwrite)
    try:
        if kind is Kind.FOLDER:
            return FolderResult(workshop, order.target, order.crf), notes
        return VideoResult(workshop, film, look, encoding, timing, place), notes
    except BaseException:
        workshop.close()
        raise


def _encoding(order: Order, look: Look, kind: Kind) -> tuple[Encoding, list[str]]:
    if kind is Kind.GIF:
        if order.codec or order.crf is not None or order.preset or order.pixel_format:
            raise MediaError("a GIF has no codec, quality, preset or pixel format to choose")
        notes = ["sound is left out: a GIF has none"]
        return Encoding("gif", "ffv1", "bgra" if look.alpha else "bgr0"), notes
    ending = Path(order.target).suffix
    return choose_encoding(look, ending, order.codec, order.crf, order.preset, order.pixel_format)


def _folder(target: str) -> Path:
    path = Path(target)
    return path.parent if "%" in path.name else path
