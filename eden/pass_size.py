"""How much is computed together: less once memory ran out, and in steps as much as before once that goes well."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)

LEAST_PART = 16
"""The limit never falls below this part of its full size: what a tiny pass lacks says little about a larger grid's."""

PASSES = 32
"""Passes at the limit that go well before it is doubled. A failed try drops recorded graphs: it costs many passes."""

MOST_PASSES = 1024
"""What that number grows to at most, doubled each time that a raised limit proves too high."""

WORDS = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
"""How CUDA and Triton, its libraries, and PyTorch on a CPU say it; only PyTorch's own CUDA allocator has a type."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, whoever asked for it: PyTorch, CUDA, a library of its, Triton, Python."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in WORDS)


class PassSize:
    """The most tokens of one pass. It depends on nothing but what it is told of the passes, in their order.

    A pass is `items` pairs or frames of `tokens` patch tokens each; one item is always allowed.
    """

    def __init__(self, full: int, name: str) -> None:
        self.full, self.name = full, name
        self.limit = full
        """Tokens, from full // LEAST_PART to full."""
        self.out_of_memory = 0
        """How often memory ran out since the start. It only grows."""
        self._passes = PASSES
        self._good = 0
        self._raised = False

    def items(self, tokens: int) -> int:
        """How many items of `tokens` tokens each to compute together, at least 1."""
        return max(1, self.limit // tokens)

    def ran_out(self, items: int, tokens: int) -> None:
        """Memory ran out in such a pass: from now on half of it is the most."""
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
        """Such a pass went well. Those with room for one item more say nothing about the limit, and do not count."""
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
                "%s: %d passes went well: up to %d of %d tokens per pass again",
                self.name, good, self.limit, self.full,
            )  # fmt: skip

    def _set(self, limit: int, raised: bool) -> None:
        self.limit, self._raised, self._good = limit, raised, 0
