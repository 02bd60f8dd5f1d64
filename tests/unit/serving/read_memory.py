"""What reading a batch takes: `python -m tests.unit.serving.read_memory FILE...` prints JSON, an object for each file.

    {"bound": what one request may take, "alone": what one took, "budget": for several, "read": how many were read
     within it, "together": what all these took}, in bytes

The file is every frame of a request. Each batch is read in a process of its own, forked from one that has read nothing.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from handlers.quirks import keep_freed_memory
from serving.batch import Batch
from serving.encode import ClipReader
from serving.limits import ClipLimits
from serving.request import Request

FRAMES = 6
REQUESTS = 5
"""So many at once, were there no budget, would take more than it."""


def peak() -> int:
    """The most bytes of this process that were in memory at once (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(path: Path, count: int, budget: int) -> dict[str, int]:
    """Of `count` requests: what the first may take, what all together took, how many were read."""
    keep_freed_memory()  # as in a worker
    bodies = [path.read_bytes() for _ in range(count)]
    requests = [Request(i, {f"frame{k}": body for k in range(FRAMES)}, {}) for i, body in enumerate(bodies)]
    limits = ClipLimits(1 << 30, 512, 1 << 30, max_decode_bytes=budget)
    batch = Batch(requests)
    with ThreadPoolExecutor(4) as waiting, ThreadPoolExecutor(8) as pictures:
        reader = ClipReader(limits, 16, pictures)
        jobs = batch.each(batch.each(requests, reader.ask), reader.look_at)
        before = peak()
        read = 0
        for part in reader.parts(jobs):
            read += len(reader.read_all(batch, part, waiting))  # and let go of, as after encoding
    return {"bound": jobs[0].nbytes, "taken": peak() - before, "read": read}


def forked(path: Path, count: int, budget: int) -> dict[str, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(measured(path, count, budget)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


def main(paths: list[Path]) -> None:
    found = {}
    for path in paths:
        alone = forked(path, 1, 1 << 40)
        budget = 3 * alone["bound"] // 2  # two at once would be over it
        together = forked(path, REQUESTS, budget)
        found[path.name] = {
            "bound": alone["bound"],
            "alone": alone["taken"],
            "budget": budget,
            "read": together["read"],
            "together": together["taken"],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
