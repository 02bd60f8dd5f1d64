"""What decoding takes of memory in a real process, against what `peek` said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from media import peek
from media.peeking import DECODE_BYTES_PER_PIXEL
from tests.unit.media.media_samples import VIDEOS, clip, pictures, videos

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def samples() -> dict[str, bytes]:
    return {**pictures(1000, 1600), **videos(480, 640, 20), "npy": clip(6, 1000, 1000)}


@pytest.fixture(scope="module")
def taken(samples, tmp_path_factory) -> dict[str, dict[str, int]]:
    """By kind: bytes taken, and the size of what came out."""
    folder = tmp_path_factory.mktemp("samples")
    for name, data in samples.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-m", "tests.unit.media.peak_memory", *(str(folder / name) for name in samples)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=one_thread, check=True, capture_output=True)
    return {Path(name).name: numbers for name, numbers in json.loads(done.stdout).items()}


KINDS = [*pictures(16, 16), *VIDEOS, "npy"]


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_takes_no_more_than_peek_said(kind, samples, taken):
    told = peek(samples[kind])
    assert (told.height, told.width) == (taken[kind]["height"], taken[kind]["width"])
    assert told.frame_bytes * 0.9 < taken[kind]["taken"] <= told.decode_bytes


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("png", "jpeg", "webp"))])
def test_what_a_picture_takes_is_a_small_multiple_of_its_pixels(kind, samples):
    told = peek(samples[kind])
    coded = 3 * len(samples[kind])
    assert told.decode_bytes - coded <= max(DECODE_BYTES_PER_PIXEL.values()) * told.height * told.width + (13 << 20)
    assert max(DECODE_BYTES_PER_PIXEL.values()) <= 16
