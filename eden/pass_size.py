"""How much is computed per pass: less after memory ran out, and step by step as much as before once passes succeed."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)

LEAST_PART = 16
"""The limit never falls below full // LEAST_PART: that a tiny pass failed says little about passes of a larger grid."""

PASSES = 32
"""Passes at the limit that must succeed before it is doubled. A failure drops recorded graphs: it costs many passes."""

MOST_PASSES = 1024
"""The most that this number grows to; it doubles each time that a raised limit proves too high."""

WORDS = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
"""How errors say that memory ran out: CUDA's and Triton's, CUDA libraries', PyTorch's on a CPU. Only the allocator of
PyTorch for CUDA has an exception type for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out: in PyTorch, CUDA or one of its libraries, Triton, or Python."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in WORDS)


class PassSize:
    """The limit on tokens per pass; it depends only on the calls of `ran_out` and `went_well`, in their order.

    A pass is `items` pairs or frames of `tokens` patch tokens each; one item is always allowed.
    full: the limit to begin with, in tokens · name: what the log calls the passes.
    """

    def __init__(self, full: int, name: str) -> None:
        self.full, self.name = full, name
        self.limit = full
        """Tokens per pass, from full // LEAST_PART to full."""
        self.out_of_memory = 0
        """How often memory has run out."""
        self._passes = PASSES
        self._good = 0
        self._raised = False

    def items(self, tokens: int) -> int:
        """How many items of `tokens` tokens each to compute per pass, at least 1."""
        return max(1, self.limit // tokens)

    def ran_out(self, items: int, tokens: int) -> None:
        """Memory ran out in a pass of `items` items: from now on the limit is at most half of their tokens."""
        self.out_of_memory += 1
        if self._raised:
            self._passes = min(2 * self._passes, MOST_PASSES)
        least = max(1, self.full // LEAST_PART)
        self._set(min(self.limit, max(least, items * tokens // 2)), raised=False)
        logger.warning(
            "%s: out of memory (%d so far) in a pass of %d x %d tokens: at most %d of %d tokens per pass now",
            self.name, self.out_of_memory, items, tokens, self.limit, self.full,
        )  # fmt: skip

    def went_well(self, items: int, tokens: int) -> None:
        """A pass of `items` items succeeded. It counts only if it was full: others say nothing about the limit."""
        if items < self.items(tokens) or (self.limit == self.full and not self._raised):
            return
        self._good += 1
        if self._good < self._passes:
            return
        if self._raised:
            self._passes, self._raised = PASSES, False
        if self.limit < self.full:
            good = self._good
            self._set(min(self.full, 2 * self.limit), raised=True)
            logger.info(
                "%s: %d passes succeeded: up to %d of %d tokens per pass again",
                self.name, good, self.limit, self.full,
            )  # fmt: skip

    def _set(self, limit: int, raised: bool) -> None:
        self.limit, self._raised, self._good = limit, raised, 0
