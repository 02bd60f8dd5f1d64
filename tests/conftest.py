"""How the suite runs: the same examples every time, and in two processes an order that keeps both busy to the end.

A file whose tests share a server stays in one process; what measures the machine itself is marked `alone` and runs by
itself after all else (`make test`).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
KINDS = ("e2e", "gpu", "unit", "contract")
"""The order in which they run: the longest first, and last those of which each may run anywhere, to fill the end."""

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # threads that wait busily for cores that others use cost most of both

settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays in one process, for its fixtures; but for the contract's, whose tests start their own processes."""
    for item in items:
        if kind_of(item) != "contract":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: KINDS.index(kind_of(item)))


def kind_of(item: pytest.Item) -> str:
    """The folder of tests/ that holds it."""
    return item.path.relative_to(TESTS).parts[0]
