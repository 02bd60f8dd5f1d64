"""Reading a batch takes no more memory than a server allows for, in a real process, whatever the pictures are."""

from __future__ import annotations

import json
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from tests.unit.serving.read_memory import REQUESTS

pytestmark = pytest.mark.slow

SIDE = 1024
SLACK = 48 << 20
"""Bytes of threads' stacks, their heaps and the allocator's rounding."""


def deep_png(path):
    frame = av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 4), 40_000, np.uint16), format="rgba64le")
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = SIDE, SIDE, "rgba64be", 1
    packets = [*codec.encode(frame.reformat(format="rgba64be")), *codec.encode()]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))


def progressive_jpeg(path):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)
    Image.fromarray(pixels).resize((SIDE, SIDE)).save(path, "JPEG", progressive=True)


def plain_png(path):
    Image.new("RGB", (SIDE, SIDE), (1, 2, 3)).save(path, "PNG")


PICTURES = {write.__name__: write for write in (deep_png, progressive_jpeg, plain_png)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """By picture: see `read_memory`."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, write in PICTURES.items():
        write(folder / name)
    command = [sys.executable, "-m", "tests.unit.serving.read_memory", *(str(folder / name) for name in PICTURES)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_batch_of_such_pictures_stays_within_its_budget(measured, picture):
    found = measured[picture]
    assert found["alone"] <= found["bound"] + SLACK
    assert found["read"] == REQUESTS
    assert found["together"] <= found["budget"] + SLACK
