"""A test process that is killed leaves no server behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from server.settings import PROJECT

pytestmark = pytest.mark.slow

PATIENCE = 120.0
STARTS_A_SERVER = """
import subprocess, sys
from pathlib import Path
from tests.orphans import guarded

folder, temporary = Path(sys.argv[1]), sys.argv[2]
options = [f"-Djava.io.tmpdir={temporary}", "-f", str(folder / "server" / "config.properties")]
with guarded(folder):
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *options], stdout=sys.stderr)
    print(server.pid, flush=True)
    input()
    server.kill()
    server.wait()
"""


def process_of(folder: Path, temporary: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A process that has started a server, and the server; or what stands for one by its command line."""
    command = [sys.executable, "-c", STARTS_A_SERVER, str(folder), str(temporary)]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


def has_ended(process: psutil.Process) -> bool:
    """Whether it has, even if nobody has asked for its exit code."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_server_ends_with_the_process_that_started_it_and_others_do_not(tmp_path):
    killed, orphan = process_of(tmp_path / "gw1", tmp_path / "eden-1")
    other, kept = process_of(tmp_path / "gw10", tmp_path / "eden-10")
    with killed, other:
        killed.kill()
        until = time.monotonic() + PATIENCE
        while not has_ended(orphan):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert not has_ended(kept)
        other.communicate("end\n", timeout=PATIENCE)
        assert other.returncode == 0 and has_ended(kept)
