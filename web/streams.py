"""The finished segments of a video: by its journal while it is being made, and the whole film afterwards."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av

from eden_client.film.resume_journal import finished_segments, parts_folder
from web.answers import ApiError
from web.fragments import Span, duration, spans
from web.schemas import Video
from web.threads import threaded
from web.videos import StreamPart, Videos

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 0.25
"""Seconds between two readings of the journal of a video that is being made."""


async def follow(videos: Videos, video: Video) -> None:
    """Note the segments of a video as they are finished, until this is cancelled."""
    journal, seen = parts_folder(videos.result(video)) / "journal.json", 0
    while True:
        with suppress(FileNotFoundError):
            changed = journal.stat().st_mtime_ns
            if changed != seen:
                seen = changed
                await note_segments(videos, video)
        await asyncio.sleep(_LOOK_AGAIN)


async def note_segments(videos: Videos, video: Video) -> None:
    """Note the segments that are finished now."""
    if video.options.format == "gif":
        return
    known = videos.stream(video.id)
    try:
        parts = await threaded(_finished, videos.result(video), known)
    except (av.FFmpegError, OSError, ValueError) as error:
        logger.warning("video %s: its segments cannot be read (%s)", video.id, error)
        return
    with suppress(ApiError):  # it is deleted
        videos.set_stream(video.id, parts)


def _finished(result: Path, known: list[StreamPart]) -> list[StreamPart]:
    if result.exists():
        whole = spans(result, [Span(Fraction(part.start), Fraction(part.duration)) for part in known])
        return known + [StreamPart(float(span.start), float(span.duration), "") for span in whole[len(known) :]]
    entries = [entry for entry in finished_segments(result) if entry.name]
    parts: list[StreamPart] = []
    for number, entry in enumerate(entries):
        start = Fraction(entry.start) - Fraction(entries[0].start)
        if number < len(known) and known[number].name == entry.name:
            parts.append(known[number])
        else:
            parts.append(StreamPart(float(start), float(duration(parts_folder(result) / entry.name)), entry.name))
    return parts
