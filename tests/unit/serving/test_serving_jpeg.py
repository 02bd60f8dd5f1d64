"""Who decodes and encodes JPEG. What the GPU makes of it is for tests/gpu."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import media
from serving.batch import Batch
from serving.clip import look_at
from serving.encode import ClipReader
from serving.jpeg import BatchJpeg, open_jpeg
from serving.limits import ClipLimits
from serving.request import Request
from serving.settings import SettingsError
from tests.e2e.servers import moving_frames

LIMITS = ClipLimits(1 << 20, 9, 1 << 24)
JPEGS = {f"frame{i}": media.encode_image(frame, "jpeg") for i, frame in enumerate(moving_frames(3))}


class Coder:
    """A GPU's coder, as far as who is asked for what: every other JPEG is none for it."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def decode(self, data, *, max_pixels):
        self.asked += data
        decoded = [torch.from_numpy(media.decode_image(each, max_pixels=max_pixels)).permute(2, 0, 1) for each in data]
        return [each if index % 2 == 0 else None for index, each in enumerate(decoded)]

    def encode(self, frames, quality):
        self.asked += [quality] * len(frames)
        return [f"{quality}:{int(frame[0, 0, 0])}".encode() for frame in frames]


def read(coder: Coder, decodes: bool, fields: dict) -> torch.Tensor:
    with ThreadPoolExecutor(2) as pool:
        reader = ClipReader(LIMITS, 16, pool, BatchJpeg(coder, 1 << 20, decodes))
        batch = Batch([Request(0, fields, {})])
        jobs = batch.each(batch.each(batch.requests, reader.ask), reader.look_at)
        (job,) = reader.read_all(batch, jobs, pool)
    return job.frames


def test_strangers_pictures_are_decoded_by_the_cpu_unless_the_operator_says_otherwise():
    coder = Coder()
    by_cpu = read(coder, False, JPEGS)
    assert coder.asked == []
    by_both = read(coder, True, JPEGS)
    assert coder.asked == list(JPEGS.values())
    assert by_both.is_contiguous() and torch.equal(by_both, by_cpu)


def test_frames_that_the_answer_holds_stay_on_the_host():
    coder = Coder()
    read(coder, True, JPEGS | {"format": b"mp4"})
    assert coder.asked == []


def test_each_frame_is_coded_in_its_own_quality():
    frames = [torch.full((3, 16, 16), level, dtype=torch.uint8) for level in (1, 2, 3)]
    coded = BatchJpeg(Coder(), 1 << 20, False).encode(frames, [50, None, 50])
    assert coded == [b"50:1", b"90:2", b"50:3"]


def test_a_gpu_that_decodes_encodes_all_and_another_one_only_what_a_lone_caller_waits_for():
    mine, lone = (BatchJpeg(Coder(), 1 << 20, decodes) for decodes in (True, False))
    assert [mine.encodes(count) for count in (1, 2, 3, 100)] == [True] * 4
    assert [lone.encodes(count) for count in (1, 2, 3, 100)] == [True, True, False, False]


def test_where_there_is_no_gpu_the_cpu_does_it_and_a_gpu_that_is_insisted_upon_is_missed():
    cpu = torch.device("cpu")
    assert open_jpeg("auto", cpu, 1 << 20) is None
    assert open_jpeg("cpu", cpu, 1 << 20) is None
    with pytest.raises(SettingsError, match="jpeg is gpu, but there is none here: nvJPEG needs a CUDA device"):
        open_jpeg("gpu", cpu, 1 << 20)


def test_a_clip_without_pictures_is_none_of_its_business():
    coder = Coder()
    array = look_at({"body": media.encode_npy(np.stack(list(moving_frames(2))))}, LIMITS)
    assert BatchJpeg(coder, 1 << 20, True).decode({0: array}) == {}
