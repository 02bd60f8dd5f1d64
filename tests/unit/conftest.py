"""A container for a test to be in, and a folder of a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from media import machine
from server.folder import ServerFolder


@pytest.fixture
def write_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Have the machine be one of 64 cores, and the container's file say this of them."""

    def write(quota: str) -> None:
        (tmp_path / "cpu.max").write_text(quota)
        (tmp_path / "membership").write_text("0::/\n")
        monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
        monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)

    return write


@pytest.fixture
def grant_cores(write_quota: Callable[[str], None]) -> Callable[[int], None]:
    """Have the container grant so many of them."""
    return lambda count: write_quota(f"{count}00000 100000")


@pytest.fixture
def place(tmp_path: Path) -> ServerFolder:
    """A server's folder, which it has taken."""
    place = ServerFolder(tmp_path)
    place.claim()
    return place
