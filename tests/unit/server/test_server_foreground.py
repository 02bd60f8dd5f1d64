"""What `python -m server run` makes of signals, and of a server that ends: with real programs, and real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from server.settings import PROJECT

RUNS = """
import signal, sys, time
from pathlib import Path
from server import foreground
from server.folder import ServerFolder
from server.foreground import serve_until_stopped
from server.torchserve import ServerError

foreground.TWICE = {twice}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # whatever the tests themselves were started with


def told(word):
    print(word, flush=True)


class Server:
    # A server that does as the test says, line by line on stdin.
    place = ServerFolder(Path("nowhere"))
    runs = False

    def start(self, timeout):
        told("starting")
        if {slow}:
            time.sleep(600)
        self.runs = True

    def is_running(self):
        return self.runs and not {ends}

    def drain(self, within, notice):
        told(f"draining {{within:g}} {{notice:g}}")
        left = sys.stdin.readline().strip()
        self.runs = False
        return left

    def stop(self):
        told("stopped")
        self.runs = False


try:
    raise SystemExit(serve_until_stopped(Server(), 600, 60, 5, lambda: told("started")))
except ServerError as error:
    told(error)
    raise SystemExit(1)
"""
TOLD = "Draining, for at most 65 s; another signal stops it at once ...\n"


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def _run(twice: float = 600, slow: bool = False, ends: bool = False) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUNS.format(twice=twice, slow=slow, ends=ends)]
        started.append(subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, text=True))
        assert started[-1].stdout.readline() == "starting\n"
        return started[-1]

    yield _run
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def begun(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    ("left", "code", "word"), [("", 0, "All accepted calls were finished."), ("a call", 1, "a call")]
)
def test_the_first_signal_drains_it_and_the_exit_code_says_whether_all_was_finished(run, number, left, code, word):
    process = begun(run())
    process.send_signal(number)
    assert [process.stdout.readline() for _ in range(2)] == [TOLD, "draining 60 5\n"]
    process.send_signal(number)  # the same word, said twice
    process.stdin.write(f"{left}\n")
    process.stdin.flush()
    assert word in process.stdout.read()
    assert process.wait(60) == code


def test_a_second_signal_stops_it_at_once(run):
    process = begun(run(twice=0))
    process.send_signal(signal.SIGTERM)
    assert [process.stdout.readline() for _ in range(2)] == [TOLD, "draining 60 5\n"]
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "Stopping at once.\nstopped\n"
    assert process.wait(60) == 128 + signal.SIGINT


def test_told_while_it_starts_it_is_not_drained(run):
    process = run(slow=True)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == ""
    assert process.wait(60) == 128 + signal.SIGTERM


def test_it_ends_where_its_server_does(run):
    process = begun(run(ends=True))
    assert process.wait(60) == 1
    assert process.stdout.read().startswith("stopped\nTorchServe has ended.\n")
