"""What reading a batch takes: `python -m tests.unit.serving.read_memory BUDGET FILE...` prints JSON.

Each file is every frame of a request of its own: {"bounds": what each may take, "taken": what all took together}.
"""

from __future__ import annotations

import json
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


def peak() -> int:
    """The most bytes of this process that were in memory at once (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(budget: int, files: list[Path]) -> None:
    keep_freed_memory()  # as in a worker
    bodies = [file.read_bytes() for file in files]
    requests = [Request(i, {f"frame{k}": body for k in range(FRAMES)}, {}) for i, body in enumerate(bodies)]
    limits = ClipLimits(1 << 30, 512, 1 << 30, max_decode_bytes=budget)
    batch = Batch(requests)
    with ThreadPoolExecutor(4) as waiting, ThreadPoolExecutor(8) as pictures:
        reader = ClipReader(limits, 16, pictures)
        jobs = batch.each(requests, reader.look_at)
        before = peak()
        read = 0
        for part in reader.parts(jobs):
            read += len(reader.read_all(batch, part, waiting))  # and let go of, as after encoding
    print(json.dumps({"bounds": [job.nbytes for job in jobs], "taken": peak() - before, "read": read}))


if __name__ == "__main__":
    main(int(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
