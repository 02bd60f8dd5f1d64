"""Shared memory that is as small as a container's default, or full of what others put there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.contract.little_room import (
    beside_what_is_full,
    beyond_what_fits,
    in_flight_though_it_fills_up,
    once_it_is_full_no_more,
    refusals,
    run,
    run_traffic,
)


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
    *at_start, told = warnings
    assert len(at_start) == 2  # ends of a hand-off
    for warning in at_start:
        assert "holds 67108864 bytes in all; a payload may have 134217728 (max_payload_bytes)" in warning
    assert "no room for" in told
    assert all("--shm-size" in warning for warning in warnings)


def test_shared_memory_alone_tells_what_passes_from_what_does_not(folder: Path) -> None:
    full, large = run(refusals, "shared_memory", folder)
    assert full.startswith("OverCapacity")
    assert "no room for" in full
    assert large.startswith("HandoffError")
    assert "more than" in large
    assert all("--shm-size" in told for told in (full, large))


@pytest.mark.parametrize(("kind", "way"), [("auto", "http"), ("http", "http"), ("inline", "inline")])
def test_a_full_folder_ends_no_other_way(kind: str, way: str, folder: Path) -> None:
    went, out, left, warnings = run(beside_what_is_full, kind, folder)
    assert (went, out, left) == (way, 1, 0)
    (told,) = (warning for warning in warnings if "has no room for a ledger" in warning)
    assert "--shm-size" in told
    assert sorted(path.name for path in folder.iterdir()) == ["handoff.key", "shared"]


def test_shared_memory_alone_serves_once_the_folder_is_full_no_more(folder: Path) -> None:
    assert "--shm-size" in run(once_it_is_full_no_more, "shared_memory", folder)


def test_what_tells_of_payloads_has_its_room_from_the_start(folder: Path) -> None:
    assert run(in_flight_though_it_fills_up, "inline", folder) == 300


def test_whatever_came_before_a_payload_of_all_the_budget_finds_room_by_one_way_or_another(folder: Path) -> None:
    run_traffic(folder)
