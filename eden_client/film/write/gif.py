"""Writes segments as a GIF, in two passes: one finds a palette for the whole film, the other uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.filter.graph import Graph
from av.video.frame import VideoFrame

from eden_client.film.read.film import VideoFormat
from eden_client.film.write.segments import Segment
from media.errors import MediaError
from media.names import file_url, open_input
from media.video_reader import reason

HUNDREDTH = Fraction(1, 100)
"""Seconds per unit of time in a GIF, and the shortest time for which a frame is shown."""


_LONGEST = 65_535
"""Hundredths of a second for which a GIF can show a picture, at most."""


def write_gif(segments: Sequence[Segment], video_format: VideoFormat, target: Path) -> list[str]:
    """Write the film as a GIF. Returns notes for the user. Raises MediaError: no frames, or it cannot be written."""
    notes = []
    if video_format.rate > 50:
        notes.append(
            f"players show a GIF of {float(video_format.rate):.0f} frames per second at 10: 50 is the most they keep to"
        )
    last = video_format.last_duration or 1 / video_format.rate
    delay = min(max(1, round(last / HUNDREDTH)), _LONGEST)
    options = {"loop": str(video_format.loops), "final_delay": str(delay)}
    try:
        skipped = _encode(segments, _palette(segments), video_format, target, options)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{target.name} cannot be written: {reason(error)}") from error
    if skipped:
        notes.append(f"{skipped} frames less than 10 ms apart are left out: a GIF has no shorter times (--fps 50)")
    return notes


def _frames(segments: Sequence[Segment]) -> Iterator[tuple[VideoFrame, Fraction]]:
    for segment in segments:
        with open_input(segment.path) as container:
            first: Fraction | None = None
            for frame in container.decode(container.streams.video[0]):
                assert frame.pts is not None and frame.time_base is not None
                time = frame.pts * frame.time_base
                first = time if first is None else first
                yield frame.reformat(format="bgra"), segment.start + time - first


def _palette(segments: Sequence[Segment]) -> VideoFrame:
    graph: Graph | None = None
    for frame, _ in _frames(segments):
        if graph is None:
            graph = Graph()
            source = graph.add("buffer", _described((frame.height, frame.width), frame.format.name))
            maker, sink = graph.add("palettegen", "reserve_transparent=1"), graph.add("buffersink")
            source.link_to(maker)
            maker.link_to(sink)
            graph.configure()
        graph.vpush(frame)
    if graph is None:
        raise MediaError("no frames to make a GIF of")
    graph.vpush(None)
    palette = graph.vpull()
    assert isinstance(palette, VideoFrame)
    return palette


def _encode(
    segments: Sequence[Segment],
    palette: VideoFrame,
    video_format: VideoFormat,
    target: Path,
    options: dict[str, str],
) -> int:
    """Write the GIF. Returns the number of frames left out because they fell on the time of the one before."""
    last, skipped = -1, 0
    with av.open(file_url(target), "w", format="gif", options=options) as out:
        stream = out.add_stream("gif", rate=100)
        stream.height, stream.width = video_format.size
        stream.pix_fmt = "pal8"
        stream.codec_context.time_base = HUNDREDTH
        graph = Graph()
        pictures = graph.add("buffer", _described(video_format.size, "bgra"))
        colours = graph.add("buffer", _described((palette.height, palette.width), palette.format.name))
        user, sink = graph.add("paletteuse", "dither=sierra2_4a:alpha_threshold=128"), graph.add("buffersink")
        pictures.link_to(user, 0, 0)
        colours.link_to(user, 0, 1)
        user.link_to(sink)
        graph.configure()
        palette.pts = 0
        colours.push(palette)
        colours.push(None)
        start: Fraction | None = None
        for frame, time in _frames(segments):
            start = time if start is None else start
            frame.pts, frame.time_base = round((time - start) / HUNDREDTH), HUNDREDTH
            if frame.pts <= last:
                skipped += 1
                continue
            last = frame.pts
            pictures.push(frame)
            out.mux(stream.encode(graph.vpull()))
        out.mux(stream.encode(None))
    return skipped


def _described(size: tuple[int, int], pixel_format: str) -> str:
    return f"video_size={size[1]}x{size[0]}:pix_fmt={pixel_format}:time_base=1/100:pixel_aspect=1/1"
