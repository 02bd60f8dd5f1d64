"""Decodes an intact film by threads for whole frames: several times as fast as picture by picture (decoder.py).

From the first irregularity on (intact.py), the rest is decoded picture by picture: how a film is read does not change
what it shows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from eden_client.film.read.decoder import Decoded
from eden_client.film.read.intact import Doubtful, ExactDecoder, opened
from eden_client.film.read.packets import packets_of


def by_frame_threads(
    path: Path, stream: int, first: Sequence[Decoded], rest: Iterator[Decoded], threads: int
) -> Iterator[Decoded]:
    """The same pictures as `rest`, decoded faster.

    path, stream   the file, and the index of its stream
    first, rest    the first pictures, decoded picture by picture, and those after them; `rest` is used where the film
                   turns out irregular
    """
    given = 0
    with closing(_intact(path, stream, threads)) as intact:
        try:
            if [each.pts for each in islice(intact, len(first))] != [each.pts for each in first]:
                raise Doubtful
            for decoded in intact:
                given += 1
                yield decoded
        except Doubtful:
            yield from islice(rest, given, None)


def _intact(path: Path, index: int, threads: int) -> Generator[Decoded]:
    """A stream's pictures, as long as it is intact. Raises Doubtful at the first irregularity."""
    with opened(path, index, threads) as (container, stream):
        exact = ExactDecoder(stream.codec_context)
        for packet in packets_of(container, [stream]):
            yield from (Decoded(frame, frame.pts) for frame in exact.decoded(packet))
        exact.none_left()
