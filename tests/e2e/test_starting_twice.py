"""From the command line: a start of what starts already, is about to end, or was killed, and a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import Server, ServerError
from server.settings import PROJECT
from tests.e2e.servers import command, interpolates, processes_of, wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "server"
    Server(folder=tmp_path / "server").stop()


def start(model_store: Path, folder: Path) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "server", "start", "--ports", "free"]
    call += ["--model-store", str(model_store), "--folder", str(folder)]
    return subprocess.Popen(call, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def listens(server: Server) -> bool:
    return server.ports.inference in server.ports.taken()


@pytest.mark.timeout(600)  # three starts, on a machine that may have other work
def test_two_starts_at_once_one_amid_its_end_one_after_a_kill_and_a_stop_that_leaves_only_logs(model_store, folder):
    both = [start(model_store, folder) for _ in range(2)]
    said = [each.communicate(timeout=240)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert ["It is running already" in text for text in said].count(True) == 1
    server = Server(folder=folder)
    assert all(server.url in text for text in said)
    assert interpolates(server)

    java = server.java_pid
    os.kill(java, signal.SIGTERM)  # it closes its ports soon, and takes seconds to end
    wait_for(lambda: not listens(server))
    again = start(model_store, folder)
    text = again.communicate(timeout=240)[0]
    assert again.returncode == 0, text
    assert "It is running already" not in text
    server = Server(folder=folder)
    assert server.java_pid != java
    assert interpolates(server)

    os.kill(server.java_pid, signal.SIGKILL)
    wait_for(lambda: not server.is_running())
    with pytest.raises(ServerError, match="No server runs"):
        _ = server.java_pid
    begun = time.monotonic()
    again = start(model_store, folder)
    text = again.communicate(timeout=240)[0]
    assert again.returncode == 0, text
    assert time.monotonic() - begun < 200
    server = Server(folder=folder)
    assert interpolates(server)

    assert "running already" in command("start", "--folder", folder).stdout
    status = command("status", "--folder", folder, "--within", "60")
    assert status.returncode == 0
    assert f"pid {server.java_pid}" in status.stdout
    assert status.stdout.count("READY") == 2
    assert (folder / "key_file.json").stat().st_mode & 0o777 == 0o600
    assert command("stop", "--folder", folder).stdout.startswith("Stopped")
    assert processes_of(folder) == []
    assert {path.name for path in folder.iterdir()} <= {"logs", "handoff.key", ".eden-server"}
    assert {path.name for path in (folder / ".eden-server").iterdir()} == {"lock"}
    assert command("stop", "--folder", folder).stdout.startswith("No server runs")
    assert command("status", "--folder", folder).returncode == 1
