"""The client's modules are imported, and its locks hold, on platforms that lack what POSIX or Linux has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(("platform", "held"), [("win32", "a file"), ("darwin", "the folder")])
def test_the_client_runs_where_names_of_this_platform_are_missing(tmp_path, platform, held):
    command = [sys.executable, "-m", "tests.unit.client.elsewhere", platform, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"held by {held}\n"
