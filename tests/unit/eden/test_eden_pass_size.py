"""The rule alone: what a pass may hold after memory ran out, and how it gets back."""

import logging

import pytest
import torch

from eden.engine import TOKENS_PER_PASS
from eden.pass_size import LEAST_PART, MOST_PASSES, PASSES, PassSize, is_out_of_memory

FULL = 1024


def full_passes(size: PassSize, tokens: int = 4, times: int = PASSES) -> None:
    for _ in range(times):
        size.went_well(size.items(tokens), tokens)


def test_a_pass_that_failed_is_halved_and_the_limit_doubles_back_to_the_full_size():
    size = PassSize(FULL, "test")
    size.ran_out(100, 4)
    assert (size.limit, size.items(4), size.items(150), size.items(5000)) == (200, 50, 1, 1)
    for limit in (400, 800, FULL, FULL):
        full_passes(size, times=PASSES - 1)
        assert size.limit < limit or limit == FULL
        full_passes(size, times=1)
        assert size.limit == limit
    assert size.out_of_memory == 1


def test_a_tiny_pair_that_lacks_memory_leaves_larger_ones_a_sensible_pass():
    size = PassSize(TOKENS_PER_PASS["cuda"], "test")
    assert size.items(16 * 28) == 91
    size.ran_out(1, 4)
    assert size.items(16 * 28) == 91 // LEAST_PART
    full_passes(size, tokens=16 * 28, times=4 * PASSES)
    assert size.items(16 * 28) == 91


def test_it_never_rises_by_a_failure():
    size = PassSize(FULL, "test")
    size.ran_out(1, 10 * FULL)
    assert size.limit == FULL
    size.ran_out(8, 32)
    assert size.limit == 128
    size.ran_out(1, FULL)
    assert size.limit == 128


def test_only_passes_at_the_limit_say_anything_about_it():
    size = PassSize(FULL, "test")
    size.ran_out(100, 4)
    for _ in range(10 * PASSES):
        size.went_well(49, 4)
    assert size.limit == 200
    # larger than the limit is one huge pair
    for _ in range(PASSES):
        size.went_well(1, 300)
    assert size.limit == 400


@pytest.mark.parametrize("room", [FULL - 1, FULL // 2, 300, 100, FULL // LEAST_PART])
def test_where_memory_stays_short_few_passes_are_lost_to_trying(room):
    size = PassSize(FULL, "test")
    tokens, passes, drawn = 4, 200 * MOST_PASSES, 0
    for _ in range(passes):
        items = size.items(tokens)
        if items * tokens > room:
            size.ran_out(items, tokens)
        else:
            size.went_well(items, tokens)
            drawn += items
    assert size.out_of_memory < 2 * passes / MOST_PASSES
    assert drawn * tokens > passes * room / 4
    # and there again, once there is room: every step takes MOST_PASSES at most
    full_passes(size, times=5 * MOST_PASSES)
    assert size.limit == FULL


def test_a_raise_that_holds_makes_the_next_one_as_quick_as_the_first():
    size = PassSize(FULL, "test")
    for _ in range(3):  # a raise that fails each time: the third one took four times as long
        size.ran_out(FULL // 4, 4)
        while size.limit < FULL:
            full_passes(size, times=1)
    full_passes(size, times=5 * PASSES)
    size.ran_out(FULL // 4, 4)
    full_passes(size, times=PASSES - 1)
    assert size.limit == FULL // 2
    full_passes(size, times=1)
    assert size.limit == FULL


def test_each_change_is_logged_once_with_its_numbers(caplog):
    caplog.set_level(logging.INFO, "eden")
    size = PassSize(FULL, "decoder on cuda:1")
    size.ran_out(100, 4)
    full_passes(size)
    full_passes(size, times=PASSES - 1)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "decoder on cuda:1: out of memory (1 so far) in a pass of 100 x 4 tokens: "
            "at most 200 of 1024 tokens per pass now",
        ),
        ("INFO", "decoder on cuda:1: 32 passes succeeded: up to 400 of 1024 tokens per pass again"),
    ]


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_counts_as_running_out(error, memory):
    assert is_out_of_memory(error) is memory
