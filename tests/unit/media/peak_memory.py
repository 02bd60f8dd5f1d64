"""How much memory decoding takes: `python -m tests.unit.media.peak_memory FILE...` prints bytes for each, as JSON.

Each file is decoded in a process of its own, forked from one that has decoded nothing: what malloc keeps from one would
else hide what the next one takes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import media
from media.peeking import peek

UNLIMITED = 1 << 40


def decode(data: bytes) -> tuple[int, int]:
    """Decode as a server does, one frame at a time; (H, W) of the last one."""
    kind = peek(data).kind
    if kind == "video":
        with media.open_video(data, max_pixels=UNLIMITED) as video:
            for frame in video.frames():
                size = frame.shape[:2]
            return size
    if kind == "npy":
        return media.decode_npy(data, max_pixels=UNLIMITED, max_frames=UNLIMITED).shape[1:3]
    return media.decode_image(data, max_pixels=UNLIMITED).shape[:2]


def peak() -> int:
    """The most bytes of this process that were in memory at once (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(path: Path) -> dict[str, int]:
    data = path.read_bytes()
    before = peak()
    height, width = decode(data)
    return {"taken": peak() - before, "height": height, "width": width}


def forked(path: Path) -> dict[str, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(measured(path)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


if __name__ == "__main__":
    print(json.dumps({name: forked(Path(name)) for name in sys.argv[1:]}))
