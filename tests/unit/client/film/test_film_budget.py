"""What an encoder takes of memory, measured in a process of its own, is within what the budget sets aside for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eden_client.film.write.budget import Budget, encoder_bytes

SIZE = 480, 854

MEASURED = """
import gc, sys, threading
from fractions import Fraction
from pathlib import Path
import numpy as np, psutil
from eden_client.film.plan.segmentation import LONGEST
from eden_client.film.read.film import VideoFormat
from eden_client.film.write.encoding import choose_encoding
from eden_client.film.write.results import FilmFrame, Timing
from eden_client.film.write.segment_encoder import SegmentEncoder, SegmentRecipe

codec, path, size = sys.argv[1], sys.argv[2], (int(sys.argv[3]), int(sys.argv[4]))
tick = Fraction(1, 48)
look = VideoFormat(size, Fraction(24), "yuv420p")
encoding, _ = choose_encoding(look, ".mkv", codec, None, None, None)
picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
held = psutil.Process().memory_full_info
encoder = SegmentEncoder(SegmentRecipe(look, encoding, Timing(1 / tick, tick, tick)), Path(path))
before, most = held().uss, 0
for number in range(LONGEST):
    encoder.write(FilmFrame(number, number * tick, None, np.roll(picture // 16 + 100, 5 * number, axis=1)))
    most = max(most, held().uss)
encoder.close()
print(most - before)
"""
"""Prints the bytes that the encoder of a whole segment had taken at most."""


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_an_encoder_takes_no_more_than_it_is_allowed(tmp_path, codec):
    command = [sys.executable, "-c", MEASURED, codec, str(tmp_path / "out.nut"), *map(str, SIZE)]
    taken = int(subprocess.run(command, check=True, capture_output=True, timeout=250).stdout.split()[-1])
    allowed = encoder_bytes(SIZE[0] * SIZE[1])
    assert allowed / 4 < taken < allowed


@pytest.mark.parametrize("memory", [2 << 30, 8 << 30])
@pytest.mark.parametrize("size", [SIZE, (1080, 1920), (2160, 3840)])
def test_what_is_made_at_once_fits_the_memory(monkeypatch, memory, size):
    monkeypatch.setattr("eden_client.film.write.budget.cores", lambda: 64)
    budget, each = Budget(memory, size, 2, 8), encoder_bytes(size[0] * size[1])
    on_their_way = (budget.window * 2 * 12 + budget.waiting * 3) * size[0] * size[1]
    assert budget.segments == 1 or budget.segments * each + on_their_way <= memory
    assert budget.processes == 1 or budget.processes * each <= memory
    assert Budget(2 * memory, size, 2, 8).processes >= budget.processes
