"""Shared memory that is as small as a container's default, or full of what others put there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.contract.little_room import beyond_what_fits, refusals, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder, where a process may have a small tmpfs of its own."""
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"no tmpfs of its own: {tried.stderr.strip()}")
    return tmp_path


def test_auto_goes_by_http_where_shared_memory_has_no_room(folder: Path) -> None:
    ways, fallbacks, warnings = run(beyond_what_fits, "auto", folder)
    assert ways == ["shared_memory", "shared_memory", "http", "http", "shared_memory"]
    assert fallbacks == {"shared_memory": 2}
    assert len(warnings) == 1
    assert "no room for" in warnings[0]
    assert "--shm-size" in warnings[0]


def test_shared_memory_alone_tells_what_passes_from_what_does_not(folder: Path) -> None:
    full, large = run(refusals, "shared_memory", folder)
    assert full.startswith("OverCapacity")
    assert "no room for" in full
    assert large.startswith("HandoffError")
    assert "more than" in large
    assert all("--shm-size" in told for told in (full, large))
