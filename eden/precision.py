"""The three precisions, fp32, tf32 and bf16: the type of tensors, and how matrix products are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Type of weights and activations per precision. tf32 differs from fp32 only in matrix products on a GPU."""


def dtype_of(precision: str) -> torch.dtype:
    """The type of tensors in this precision. Raises ValueError for an unknown name."""
    if precision not in DTYPES:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(DTYPES)}")
    return DTYPES[precision]


@contextmanager
def computing(precision: str) -> Iterator[None]:
    """A context in which float32 matrix products on a GPU use TF32 if `precision` is "tf32", else full float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
