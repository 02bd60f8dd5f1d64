"""No encoder takes the machine from everybody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eden_client.film.read.film import VideoFormat
from eden_client.film.write.encoding import choose_encoding
from eden_client.film.write.scheduling import scheduling_kept
from eden_client.film.write.segments import SegmentWriter

RATE = Fraction(25)
FRAME = np.zeros((64, 64, 3), np.uint8)
OPENED = """
import os, sys, av, numpy
from contextlib import nullcontext
from eden_client.film.write.scheduling import scheduling_kept
with (scheduling_kept if sys.argv[1] == "kept" else nullcontext)(), av.open(sys.argv[2], "w") as film:
    stream = film.add_stream("libsvtav1", rate=25)
    stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
    stream.encode(av.VideoFrame.from_ndarray(numpy.zeros((64, 64, 3), numpy.uint8), format="rgb24"))
    threads = [int(each) for each in os.listdir("/proc/self/task")]
    print(len(threads), sum(os.sched_getscheduler(each) != os.SCHED_OTHER for each in threads))
"""


def real_time() -> list[int]:
    """Threads of this process, of which others than those of a test may end meanwhile."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(int(thread.name)) != os.SCHED_OTHER:
                found.append(int(thread.name))
    return found


def rights() -> str:
    """This thread's, as the kernel has them: hexadecimal."""
    return re.findall(r"CapEff:\s*(\w+)", Path("/proc/thread-self/status").read_text())[0]


by_right = pytest.mark.skipif(
    not int(rights(), 16) & 1 << 23, reason="no thread may be made real-time here: CAP_SYS_NICE, which root has"
)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "prores", "ffv1"])
def test_a_segment_leaves_every_thread_an_ordinary_one(tmp_path, codec):
    film_format = VideoFormat((64, 64), RATE, "yuv420p")
    encoding, _ = choose_encoding(film_format, ".mkv", codec, None, None, None)
    writer = SegmentWriter(tmp_path / "segment", encoding, film_format, RATE, 1 / RATE)
    before = rights()
    for number in range(3):
        frame = av.VideoFrame.from_ndarray(FRAME, format="rgb24").reformat(format=encoding.pixel_format)
        writer.write(frame, number / RATE)
        assert real_time() == []
    writer.close()
    assert real_time() == [] and rights() == before


@by_right
@pytest.mark.parametrize("how", ["kept", "not kept"])
def test_an_encoder_that_may_makes_threads_real_time_and_here_it_may_not(tmp_path, how):
    command = [sys.executable, "-c", OPENED, how, str(tmp_path / "film.mkv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    threads, of_real_time = map(int, done.stdout.split())
    assert threads > 10
    assert of_real_time == 0 if how == "kept" else of_real_time > 10


@by_right
def test_the_right_comes_back_whatever_happens():
    before = rights()
    with pytest.raises(ZeroDivisionError), scheduling_kept():
        assert rights() != before
        with pytest.raises(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        raise ZeroDivisionError
    assert rights() == before
    with scheduling_kept(), scheduling_kept():
        assert rights() != before
    assert rights() == before
