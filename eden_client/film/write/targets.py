"""Opens OUTPUT: a video file, a GIF, a folder of pictures, raw y4m to standard output, or one comparing picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from eden_client.film.order import Order
from eden_client.film.read.ending import gif_loops, hold_of_last
from eden_client.film.read.film import Film, VideoFormat
from eden_client.film.read.sources import PIPE
from eden_client.film.resume_journal import LONGEST_NAME, open_journal
from eden_client.film.write.encoding import CONTAINERS, Encoding, choose_encoding, choose_pixel_format
from eden_client.film.write.folder_result import FORMATS, NUMBER, FolderResult
from eden_client.film.write.gif import HUNDREDTH
from eden_client.film.write.pipe_result import FORMATS as PIPED
from eden_client.film.write.pipe_result import PipeResult
from eden_client.film.write.results import Result, Timing, Wrote
from eden_client.film.write.segment_encoder import SegmentRecipe
from eden_client.film.write.video_result import VideoResult
from media import MediaError


class Kind(Enum):
    """The kinds of OUTPUT."""

    VIDEO = "video"
    GIF = "gif"
    FOLDER = "folder"
    PICTURE = "picture"
    PIPE = "pipe"


def kind_of(target: str) -> Kind:
    """The kind of result, by OUTPUT's name. Raises MediaError: the kind is unknown, or the name is too long."""
    path = Path(target)
    if target == PIPE:
        return Kind.PIPE
    for name in path.parts:
        if (length := len(os.fsencode(name))) > LONGEST_NAME:
            raise MediaError(f"{name[:40]}...: a name of {length} bytes, files have {LONGEST_NAME} at most")
    ending = path.suffix.lower()
    if target.endswith("/") or path.is_dir() or not path.suffix:
        return Kind.FOLDER
    if ending in CONTAINERS:
        return Kind.VIDEO
    if ending == ".gif":
        return Kind.GIF
    if NUMBER.search(path.name):
        return Kind.FOLDER
    if ending in FORMATS:
        return Kind.PICTURE
    known = ", ".join([*CONTAINERS, ".gif"])
    raise MediaError(
        f"{target}: unknown kind of file {ending!r}; known are {known}, a folder/ of pictures, and - for y4m"
    )


def check_target(order: Order) -> None:
    """Check OUTPUT before any work is done.

    Raises MediaError: it exists, its folder does not, or the options do not fit it.
    """
    kind = kind_of(order.target)
    if kind is Kind.PIPE:
        if order.resume:
            raise MediaError("a run to standard output cannot be resumed")
        return
    if kind is Kind.PICTURE and not order.compare:
        raise MediaError(f"{order.target}: a single picture is made by --compare only; pictures go to a folder/")
    place = _place(order.target)
    if not order.overwrite and (any(place.iterdir()) if place.is_dir() else place.exists()):
        raise MediaError(f"{place} exists already: --overwrite replaces it")
    if not place.absolute().parent.is_dir():
        raise MediaError(f"{place.parent}: no such folder")


def open_result(
    order: Order,
    film: Film,
    look: VideoFormat,
    timing: Timing,
    fingerprint: Mapping[str, Any],
    wrote: Wrote,
    at_once: int,
    waiting: int,
) -> tuple[Result, list[str]]:
    """The result that frames are written to, and notes for the user.

    fingerprint   the options that decide how the result looks
    at_once       the most segments that are encoded at once
    waiting       the most frames that may wait for their encoders
    Raises MediaError or JournalError.
    """
    kind, place = kind_of(order.target), _place(order.target)
    timing = _with_hold(order, film, timing)
    look = replace(look, rate=timing.rate, last_duration=timing.last_duration)
    if kind is Kind.PIPE:
        _refuse(order, "y4m", "codec", "crf", "preset")
        pixel_format, notes = choose_pixel_format(look, PIPED, order.pixel_format, "y4m")
        return PipeResult(look, pixel_format, timing, wrote), [*notes, *_left_out(film, "y4m")]
    if kind is Kind.FOLDER:
        _refuse(order, "a folder of pictures", "codec", "preset", "pixel_format")
        notes = _pictures_alone(film, look, "a folder of pictures")
        if look.alpha and FORMATS.get(Path(order.target).suffix.lower()) == "jpeg":
            notes.append("transparency is lost (on black): JPEG has none")
    elif kind is Kind.GIF:
        _refuse(order, "a GIF", "codec", "crf", "preset", "pixel_format")
        if timing.rate > 1 / HUNDREDTH:
            raise MediaError(
                f"a GIF holds 100 frames per second at most, not {float(timing.rate):.4g}: --fps sets fewer"
            )
        notes = _pictures_alone(film, look, "a GIF")
        look = replace(look, loops=gif_loops(film.container) if film.container else 0)
        encoding = Encoding("gif", "ffv1", "bgra" if look.alpha else "bgr0")
    else:
        ending, wishes = Path(order.target).suffix, (order.codec, order.crf, order.preset, order.pixel_format)
        with _naming(order.target):
            encoding, notes = choose_encoding(look, ending, *wishes)
    journal = open_journal(place, fingerprint, order.resume, order.overwrite)
    try:
        if kind is Kind.FOLDER:
            return FolderResult(journal, order.target, order.crf, wrote, at_once, waiting), notes
        result = VideoResult(journal, film, SegmentRecipe(look, encoding, timing), place, wrote, at_once, waiting)
        with _naming(order.target):
            return result, [*notes, *result.rehearse()]
    except BaseException:
        journal.close() if journal.done else journal.discard()
        raise


def _refuse(order: Order, holder: str, *wishes: str) -> None:
    """Raise MediaError if one of these options, by its name in the order, is set."""
    for wish in wishes:
        if getattr(order, wish) is not None:
            raise MediaError(f"{holder} has no --{wish.replace('_', '-')} to choose")


def _left_out(film: Film, holder: str) -> list[str]:
    return [f"{' and '.join(film.beside)} left out: {holder} has no place for them"] if film.beside else []


def _pictures_alone(film: Film, look: VideoFormat, holder: str) -> list[str]:
    """Notes for the user on what a film loses as 8-bit RGB pictures."""
    notes = _left_out(film, holder)
    if look.bits > 8:
        notes.append(f"{look.bits} bits per colour become 8: {holder} has no more")
    if look.aspect != 1:
        notes.append(f"pixels of {look.aspect} become square: {holder} has no place for their shape")
    return notes


def _with_hold(order: Order, film: Film, timing: Timing) -> Timing:
    """`timing`, with the last frame shown as long as that of the film, where that is longer than usual."""
    if film.container is None or order.source_fps:
        return timing
    usual, hold = 1 / film.look.rate, hold_of_last(film.container)
    if hold < usual * 3 / 2:
        return timing
    shown_after = usual - timing.last_duration if order.fps else 0  # a constant rate shows it by repeated frames
    return replace(timing, last_duration=hold - shown_after)


@contextmanager
def _naming(target: str) -> Iterator[None]:
    """A context that puts the name of OUTPUT in front of errors."""
    try:
        yield
    except MediaError as error:
        raise MediaError(f"{Path(target).name}: {error}") from error


def _place(target: str) -> Path:
    """The path of the result: where OUTPUT is a symbolic link, what it points to."""
    path = Path(target)
    if kind_of(target) is Kind.FOLDER and NUMBER.search(path.name):
        path = path.parent
    return path.resolve() if path.is_symlink() else path
