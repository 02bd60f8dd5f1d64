"""A plugin of pytest: what several tests notice is noticed by the fastest of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

_STATISTICS = Path("mutmut-stats.json")
"""What mutmut measured of each test before the first fault; it runs them beside this file."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _STATISTICS.exists():
        durations: dict[str, float] = json.loads(_STATISTICS.read_text())["duration_by_test"]
        items.sort(key=lambda item: durations.get(item.nodeid, 0.0))
