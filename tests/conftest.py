"""How the suite runs: the same examples every time, and in several processes an order that keeps all busy to the end.

`make test` keeps a file in one process, for the server that its tests share; what measures the machine itself is marked
`alone` and runs by itself after all else.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "contract/test_handoff_contract.py",
    "e2e/test_load_scenarios.py",
    "e2e/test_client_formats.py",
    "e2e/test_client_faults.py",
    "e2e/test_installed.py",
    "security/",
    "contract/",
    "e2e/test_fused.py",
    "e2e/test_starting_plain.py",
    "e2e/test_starting_twice.py",
    "unit/training/",
    "unit/web/page/",
    "e2e/test_two_hosts.py",
    "e2e/test_drain.py",
    "e2e/",
    "cluster/",
    "gpu/",
    "unit/examples/",
    "unit/server/",
    "unit/client/film/",
    "unit/bench/",
    "unit/",
)
"""Files and folders in the order in which they run: short ones come last, so that no process waits long for others."""
TOGETHER = {
    "security": ("security/",),
    "both": (
        "e2e/test_client_topologies.py",
        "e2e/test_example_client.py",
        "e2e/test_fused.py",
        "e2e/test_load_fused.py",
        "e2e/test_traces.py",
        "e2e/test_urgency.py",
    ),
    "server, under load": (
        "e2e/test_batching.py",
        "e2e/test_faults.py",
        "e2e/test_grpc.py",
        "e2e/test_load_grpc.py",
        "e2e/test_load_scenarios.py",
        "e2e/test_metrics_prometheus.py",
        "e2e/test_worker_exit.py",
    ),
    "server, with films": (
        "e2e/test_bad_requests.py",
        "e2e/test_client_films.py",
        "e2e/test_client_formats.py",
        "e2e/test_readme.py",
        "e2e/test_regions.py",
        "e2e/test_requests.py",
        "e2e/test_starting.py",
        "e2e/test_web_films.py",
    ),
    "forkserver": tuple(
        f"contract/test_handoff_{name}.py"
        for name in (
            "addresses",
            "clocks",
            "crowds",
            "descriptors",
            "hosts",
            "little_room",
            "network",
            "strangers",
            "tcp_transport",
        )
    ),
    "own_server": ("e2e/test_client_faults.py", "e2e/test_page_eden.py"),
    "textures": ("unit/training/",),
    "browser": ("unit/web/page/",),
}
"""Files that share a process, by what they share: a server takes as long to start as many of their tests, what is
trained on as long to draw, a browser half as long to start, and PyTorch to import for a process that others are forked
from.

A file with one of these fixtures that does not stand here starts another of it.
"""
ALONE = ("e2e/", "gpu/")
"""Where `make test` and `make test-gpu` look for what is marked so."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # More threads than cores, each waiting busily for the others, cost most of the time. A server's workers set their
    # number themselves: theirs sleep while they wait.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A file's tests share a process, and those of files with one server."""
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            place = nodeid.removeprefix("tests/")
            shared = (scope for scope, places in TOGETHER.items() if place.startswith(places))
            return next(shared, None) or super()._split_scope(nodeid)

    return ByServer(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: the collector of garbage need not look through it, then nor later."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("alone") and not _place(item).startswith(ALONE):
            raise pytest.UsageError(f"{item.nodeid} is marked alone: nobody looks for such a test there")
    items.sort(key=_rank)


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """A test that makes its process real-time takes the machine from all others; its servers inherit that."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def _place(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).as_posix()


def _rank(item: pytest.Item) -> int:
    own = _place(item)
    return next(rank for rank, place in enumerate(LONGEST_FIRST) if own.startswith(place))
