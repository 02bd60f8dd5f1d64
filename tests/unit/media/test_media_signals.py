"""A program that is told to end undoes what it has begun: with real programs, and real signals."""

import signal
import subprocess
import sys

import psutil
import pytest

from server.settings import PROJECT

BEGIN = """
import signal, sys
from media.signals import exit_when_told_to
signal.signal(signal.SIGHUP, {hangup})
exit_when_told_to()
"""
UNDOES = """
try:
    print("begun", flush=True)
    signal.pause()
finally:
    print("undoing", flush=True)
    sys.stdin.readline()
    print("undone", flush=True)
"""
MAKES = """
from media.signals import signals_wait
try:
    with signals_wait():
        print("making", flush=True)
        sys.stdin.readline()
        print("made", flush=True)
    print("it goes on", flush=True)
finally:
    print("undone", flush=True)
"""
RUNS_ANOTHER = """
from bench.processes import running
with running([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
    print(other.pid, flush=True)
    other.wait()
"""


@pytest.fixture
def spawn():
    started = []

    def _spawn(code: str, hangup: str = "signal.SIG_DFL") -> subprocess.Popen:
        command = [sys.executable, "-c", BEGIN.format(hangup=hangup) + code]
        process = subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, stderr=-1, text=True)
        started.append(process)
        return process

    yield _spawn
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_was_begun_is_undone_however_often_it_is_told(spawn, name):
    number = getattr(signal, name)
    process = spawn(UNDOES)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    assert process.stdout.readline() == "undoing\n"
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate("go on\n", timeout=60)
    assert (out, err) == ("undone\n", "")
    assert process.returncode == 128 + number


def test_what_is_being_made_is_made_first(spawn):
    process = spawn(MAKES)
    assert process.stdout.readline() == "making\n"
    process.terminate()
    assert process.communicate("go on\n", timeout=60) == ("made\nundone\n", "")
    assert process.returncode == 128 + signal.SIGTERM


def test_a_program_that_it_runs_ends_with_it(spawn):
    process = spawn(RUNS_ANOTHER)
    other = psutil.Process(int(process.stdout.readline()))
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not other.is_running()


def test_a_hangup_that_is_ignored_stays_so(spawn):
    process = spawn(UNDOES, hangup="signal.SIG_IGN")
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGHUP)
    process.terminate()
    process.communicate("go on\n", timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_every_benchmark_does_so():
    """They start servers, and other processes."""
    programs = {path: path.read_text() for path in (PROJECT / "bench").rglob("*.py")}
    programs = {path: text for path, text in programs.items() if 'if __name__ == "__main__":\n' in text}
    assert len(programs) > 10
    assert [path for path, text in programs.items() if '"__main__":\n    exit_when_told_to()\n' not in text] == []
