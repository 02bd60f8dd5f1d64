"""What Locust does that a report of a load must not suffer from; in a process of its own, which Locust makes over."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from locust.env import Environment
from locust.stats import StatsCSVFileWriter
from loadtest import _quirks

class Broken(StatsCSVFileWriter):
    def _requests_data_rows(self, rows):
        raise ValueError("something else")

def raised(run):
    try:
        run()
    except ValueError as error:
        return str(error)

def told(kind, run, close):
    writer = kind(Environment(), [0.5], sys.argv[1])
    if close:
        writer.close_files()
    return raised(lambda: run(writer))

print(told(StatsCSVFileWriter, _quirks._write, close=True))
print(told(StatsCSVFileWriter, StatsCSVFileWriter.stats_writer, close=True))
print(told(Broken, Broken.stats_writer, close=False))
"""


def test_statistics_end_with_their_files_and_what_else_is_wrong_is_told(tmp_path):
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "load")]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    by_locust, mended, broken = run.stdout.splitlines()
    assert "closed file" in by_locust  # else the cure has become needless
    assert mended == "None"
    assert broken == "something else"
