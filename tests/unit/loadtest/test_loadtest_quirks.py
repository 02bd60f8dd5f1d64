"""What Locust does that a report of a load must not suffer from."""

from __future__ import annotations

from pathlib import Path

import pytest
from locust.env import Environment
from locust.stats import StatsCSVFileWriter

from loadtest import _quirks


@pytest.fixture
def writer(tmp_path: Path) -> StatsCSVFileWriter:
    """Its files are closed, as at Locust's end."""
    writer = StatsCSVFileWriter(Environment(), [0.5], str(tmp_path / "load"))
    writer.close_files()
    return writer


def test_statistics_end_with_their_files(writer):
    assert writer.stats_writer() is None


def test_it_is_still_needed(writer):
    with pytest.raises(ValueError, match="closed file"):
        _quirks._write(writer)


def test_what_else_is_wrong_is_still_told(tmp_path, monkeypatch):
    writer = StatsCSVFileWriter(Environment(), [0.5], str(tmp_path / "load"))

    def broken(_: object) -> None:
        raise ValueError("something else")

    monkeypatch.setattr(writer, "_requests_data_rows", broken)
    with pytest.raises(ValueError, match="something else"):
        writer.stats_writer()
    writer.close_files()
