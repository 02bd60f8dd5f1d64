"""Starting a server that starts already, is about to end, or was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import media
from server import Server, ServerError
from server.api import BINARY
from server.settings import PROJECT
from tests.e2e.serving import WORKFLOW, moving_frames, wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "server"
    Server(folder=tmp_path / "server").stop()


def start(model_store: Path, folder: Path) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "server", "start", "--ports", "free"]
    call += ["--model-store", str(model_store), "--folder", str(folder)]
    return subprocess.Popen(call, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def interpolates(server: Server) -> bool:
    reply = server.api.call(WORKFLOW, data=media.encode_npy(moving_frames(2)), headers=BINARY)
    return reply.status_code == 200 and reply.content.startswith(media.NPY_MAGIC)


def listens(server: Server) -> bool:
    return server.ports.inference in server.ports.taken()


def test_two_starts_at_once_one_while_it_ends_and_one_after_it_was_killed(model_store, folder):
    both = [start(model_store, folder) for _ in range(2)]
    said = [each.communicate(timeout=240)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert ["It runs already" in text for text in said].count(True) == 1
    server = Server(folder=folder)
    assert all(server.url in text for text in said)
    assert interpolates(server)

    java = server.java_pid
    os.kill(java, signal.SIGTERM)  # it closes its ports soon, and takes seconds to end
    wait_for(lambda: not listens(server))
    again = start(model_store, folder)
    text = again.communicate(timeout=240)[0]
    assert again.returncode == 0, text
    assert "It runs already" not in text
    server = Server(folder=folder)
    assert server.java_pid != java
    assert interpolates(server)

    os.kill(server.java_pid, signal.SIGKILL)
    wait_for(lambda: not server.is_running())
    with pytest.raises(ServerError, match="No server runs"):
        _ = server.java_pid
    again = start(model_store, folder)
    text = again.communicate(timeout=240)[0]
    assert again.returncode == 0, text
    assert interpolates(Server(folder=folder))
