"""A sound film decoded by threads for whole pictures: several times as fast as picture by picture (decoder.py).

What comes from the first picture on that is out of the ordinary (sound.py) is decoded picture by picture: what a film
shows does not depend on how it was read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from eden_client.film.read.decoder import Decoded
from eden_client.film.read.packets import packets_of
from eden_client.film.read.sound import Doubtful, Due, opened


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


def _sound(path: Path, index: int, threads: int) -> Generator[Decoded]:
    """A stream's pictures. Raises Doubtful where it might have to be read in another way."""
    with opened(path, index, threads) as (container, stream):
        due = Due(stream.codec_context)
        for packet in packets_of(container, [stream]):
            yield from (Decoded(frame, frame.pts) for frame in due.decoded(packet))
        due.none_left()
