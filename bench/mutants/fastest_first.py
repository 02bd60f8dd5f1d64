"""A plugin of pytest that runs the fastest tests first: a fault is then noticed by the fastest that can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

_STATISTICS = Path("mutmut-stats.json")
"""mutmut's file of how long each test takes, in the folder in which it runs them."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _STATISTICS.exists():
        durations: dict[str, float] = json.loads(_STATISTICS.read_text())["duration_by_test"]
        items.sort(key=lambda item: durations.get(item.nodeid, 0.0))
