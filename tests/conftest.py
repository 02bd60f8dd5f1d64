"""How the suite runs: the same examples every time, and in several processes an order that keeps all busy to the end.

`make test` keeps a file in one process, for the server that its tests share; what measures the machine itself is marked
`alone` and runs by itself after all else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
LONGEST_FIRST = ("security", "e2e", "gpu", "contract", "unit/training", "unit")
"""Folders in the order in which they run: short files come last, so that no process waits long for the others."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # More threads than cores, each waiting busily for the others, cost most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A file's tests share a process, and those of tests/security all one: their server costs more than they do."""
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/security" if nodeid.startswith("tests/security/") else super()._split_scope(nodeid)

    return ByServer(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path.relative_to(TESTS).as_posix()))


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """A test that makes its process real-time takes the machine from all others; its servers inherit that."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def _rank(path: str) -> int:
    return next(rank for rank, folder in enumerate(LONGEST_FIRST) if path.startswith(f"{folder}/"))
