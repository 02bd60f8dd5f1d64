"""Matroska's PixelCrop: edges of the pictures that are not to be shown. FFmpeg's decoders do not cut them off."""

from __future__ import annotations

import mmap
from pathlib import Path

from av.filter.graph import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from media.video_headers import EBML_MAGIC, matroska_crops


class Crop:
    """Cuts the edges off pictures of `size` (H, W). `edges`: pixels on the left, at the top, on the right, below."""

    def __init__(self, size: tuple[int, int], edges: tuple[int, int, int, int]) -> None:
        self._size, self._edges, (self._left, self._top, right, bottom) = size, edges, edges
        self._height, self._width = size[0] - self._top - bottom, size[1] - self._left - right
        self._graph: Graph | None = None
        self._made_for = ""

    def __reduce__(self) -> tuple[type[Crop], tuple[tuple[int, int], tuple[int, int, int, int]]]:
        return Crop, (self._size, self._edges)

    def cut(self, frame: VideoFrame) -> VideoFrame:
        """The part of a frame that is shown. A frame of another size is returned whole."""
        if (frame.height, frame.width) != self._size:
            return frame
        if self._graph is None or self._made_for != frame.format.name:
            self._graph, self._made_for = self._made(frame), frame.format.name
        self._graph.vpush(frame)
        cut = self._graph.vpull()
        assert isinstance(cut, VideoFrame)
        return cut

    def _made(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        size = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
        source = graph.add("buffer", f"{size}:time_base=1/1000:colorspace={frame.colorspace}:range={frame.color_range}")
        cutter = graph.add("crop", f"{self._width}:{self._height}:{self._left}:{self._top}:exact=1")
        sink = graph.add("buffersink")
        source.link_to(cutter)
        cutter.link_to(sink)
        graph.configure()
        return graph


def crop_of(path: Path, stream: VideoStream) -> Crop | None:
    """What to cut off the pictures of a stream of the file `path`; None where they are shown whole."""
    with path.open("rb") as file:
        if file.read(len(EBML_MAGIC)) != EBML_MAGIC:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            crops = matroska_crops(data)
    number = list(stream.container.streams.video).index(stream)
    size = stream.codec_context.height, stream.codec_context.width
    edges = crops[number] if number < len(crops) else (0, 0, 0, 0)
    return Crop(size, edges) if any(edges) else None  # FFmpeg ignores edges that would leave nothing
