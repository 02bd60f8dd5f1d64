"""The three precisions by name, and what each means for tensors and for matrix products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Type of weights and activations under each name. tf32 differs from fp32 only in a GPU's matrix products."""


def dtype_of(precision: str) -> torch.dtype:
    """The tensors' type under a precision's name. Raises ValueError for an unknown name."""
    if precision not in DTYPES:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(DTYPES)}")
    return DTYPES[precision]


@contextmanager
def computing(precision: str) -> Iterator[None]:
    """Within it, float32 matrix products on a GPU run in tf32 where `precision` says so, and exactly where not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
