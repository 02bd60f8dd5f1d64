"""A sound film decoded by threads for whole pictures: several times as fast as picture by picture (decoder.py).

That way a decoder tells late of damage, and mends it otherwise. So it is told to mend nothing, and each sample has to
give its one picture, in the order shown. At the first that does not, or anything else that is out of the ordinary,
whatever comes from there on is decoded picture by picture: what a film shows does not depend on how it was read.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from eden_client.film.read.decoder import Decoded
from eden_client.film.read.packets import packets_of
from eden_client.film.read.restarts import streams_with_clock
from media.names import open_input

CODECS = ("h264", "hevc")
"""FFmpeg's decoders for which it is worth while, and which tell of all damage that they see."""


def by_frame_threads(
    path: Path, stream: int, first: Sequence[Decoded], rest: Iterator[Decoded], threads: int
) -> Iterator[Decoded]:
    """The pictures of `rest`, as it would give them.

    path, stream   where they come from: the stream's index in the file
    first, rest    what has been decoded picture by picture, and what goes on from there; used where it has to be
    """
    given = 0
    with closing(_sound(path, stream, threads)) as sound:
        try:
            if [each.pts for each in islice(sound, len(first))] != [each.pts for each in first]:
                raise Doubtful
            for decoded in sound:
                given += 1
                yield decoded
        except Doubtful:
            yield from islice(rest, given, None)


class Doubtful(Exception):
    """There is something out of the ordinary."""


def _sound(path: Path, index: int, threads: int) -> Generator[Decoded]:
    """A stream's pictures. Raises Doubtful where it might have to be read in another way."""
    try:
        with open_input(path) as container:
            stream = container.streams[index]
            if not isinstance(stream, VideoStream) or stream.codec_context.name not in CODECS:
                raise Doubtful
            if streams_with_clock(container):
                raise Doubtful
            context = stream.codec_context
            context.thread_type, context.thread_count = "FRAME", threads
            context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
            due: list[int] = []  # time stamps of samples whose pictures have not come yet: a heap
            for packet in packets_of(container, [stream]):
                _expect(packet, due)
                for frame in context.decode(packet):
                    if frame.is_corrupt or not due or frame.pts != heapq.heappop(due):
                        raise Doubtful
                    yield Decoded(frame, frame.pts)
            if due:
                raise Doubtful
    except (av.FFmpegError, OSError) as error:
        raise Doubtful from error


def _expect(packet: Packet[VideoStream], due: list[int]) -> None:
    """Note the picture that has to come of a sample; the last packet is none, and empties the decoder."""
    if packet.pts is not None and packet.size and not packet.is_corrupt and not packet.is_discard:
        heapq.heappush(due, packet.pts)
    elif packet.size or packet.pts is not None:
        raise Doubtful
