"""Ending a server's processes: all of them, and only them."""

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from server import processes
from server.processes import Identity
from server.settings import PROJECT

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def spawn():
    started = []

    def _spawn(code: str, *arguments: str) -> subprocess.Popen:
        child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield _spawn
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_java_its_workers_and_their_children_end_others_stay(spawn, tmp_path):
    mine, others = tmp_path / "tmp", tmp_path / "tmp2"
    java = spawn(SLEEP, f"-Djava.io.tmpdir={mine}")
    worker = spawn(WITH_CHILD, "--sock-name", f"{mine}/.ts.sock.9000")
    child = int(worker.stdout.readline())
    stay = [spawn(SLEEP, f"-Djava.io.tmpdir={others}"), spawn(SLEEP, "--sock-name", f"{others}/.ts.sock.9000")]
    processes.end(mine)
    assert java.poll() is not None
    assert worker.poll() is not None
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert [each.poll() for each in stay] == [None, None]


def test_a_process_with_the_pid_of_one_that_ended_earlier_is_ended(spawn, tmp_path):
    java = spawn(SLEEP, f"-Djava.io.tmpdir={tmp_path}")
    earlier = psutil.Process(java.pid)
    earlier._ident = (java.pid, 0.0)
    psutil._pmap[java.pid] = earlier  # what `psutil.process_iter` keeps from one call to the next
    processes.end(tmp_path)
    assert java.poll() is not None


def test_one_that_ignores_the_request_is_killed(spawn, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.5)
    java = spawn(STUBBORN, f"-Djava.io.tmpdir={tmp_path}")
    java.stdout.readline()
    begun = time.monotonic()
    processes.end(tmp_path)
    assert java.poll() is not None
    assert 0.5 <= time.monotonic() - begun < 50  # before its minute is over


def test_an_identity_is_not_mistaken_for_a_later_process_of_that_pid(spawn):
    child = spawn(SLEEP)
    identity = Identity.of(child.pid)
    assert identity.process().pid == child.pid
    assert Identity(child.pid, identity.started + "0").process() is None
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:  # it is one until it is waited for
        time.sleep(0.01)
    assert identity.process() is None
    child.wait()
    assert identity.process() is None


ASK = """
import sys, psutil
from server.processes import Identity
psutil.PROCFS_PATH = sys.argv[1]
print(psutil.Process(int(sys.argv[2])).create_time(), Identity(int(sys.argv[2]), sys.argv[3]).process() is not None)
"""


def test_a_clock_that_is_set_makes_no_other_process_of_one(spawn, tmp_path):
    """After a step of the clock the kernel gives another boot time, on which psutil's times of creation rest."""
    child = spawn(SLEEP)
    for name in (str(child.pid), "self", "sys"):
        (tmp_path / name).symlink_to(f"/proc/{name}")
    stat, count = re.subn(
        r"(?m)^btime (\d+)$", lambda line: f"btime {int(line[1]) + 5}", Path("/proc/stat").read_text()
    )
    assert count == 1
    (tmp_path / "stat").write_text(stat)
    call = [sys.executable, "-c", ASK, tmp_path, str(child.pid), Identity.of(child.pid).started]
    said = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert float(said[0]) - psutil.Process(child.pid).create_time() > 4
    assert said[1] == "True"
