"""No encoder takes the machine from everybody else."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eden_client.film.read.film import VideoFormat
from eden_client.film.write import scheduling
from eden_client.film.write.encoding import choose_encoding
from eden_client.film.write.scheduling import scheduling_kept
from eden_client.film.write.segments import SegmentWriter

RATE = Fraction(25)
FRAME = np.zeros((64, 64, 3), np.uint8)


def real_time() -> list[int]:
    """Threads of this process, of which others than those of a test may end meanwhile."""
    found = []
    for each in scheduling._threads():
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(each) != os.SCHED_OTHER:
                found.append(each)
    return found


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "prores", "ffv1"])
def test_a_segment_leaves_every_thread_an_ordinary_one(tmp_path, codec):
    film_format = VideoFormat((64, 64), RATE, "yuv420p")
    encoding, _ = choose_encoding(film_format, ".mkv", codec, None, None, None)
    writer = SegmentWriter(tmp_path / "segment", encoding, film_format, RATE, 1 / RATE)
    for number in range(3):
        frame = av.VideoFrame.from_ndarray(FRAME, format="rgb24").reformat(format=encoding.pixel_format)
        writer.write(frame, number / RATE)
        assert real_time() == []
    writer.close()
    assert real_time() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's threads are made real-time")
def test_it_is_still_needed(tmp_path):
    with scheduling_kept(), av.open(str(tmp_path / "film.mkv"), "w") as film:
        stream = film.add_stream("libsvtav1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        film.mux(stream.encode(av.VideoFrame.from_ndarray(FRAME, format="rgb24")))
        assert real_time() != []
        film.mux(stream.encode())
    assert real_time() == []


def test_threads_that_a_listing_leaves_out_are_found(monkeypatch):
    """The kernel left out living threads in 43 of 12,000 listings during which twenty others ended (Linux 6.18)."""

    class Task:
        listings = iter(["1 2 4", "2 3 4", "2 3 4"])  # 1 ended during the first

        def iterdir(self):
            return map(Path, next(self.listings).split())

    monkeypatch.setattr(scheduling, "_THREADS", Task())
    assert scheduling._threads() == {2, 3, 4}
