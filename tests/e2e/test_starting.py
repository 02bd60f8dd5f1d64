"""Servers of the tests' own: started, watched, broken, stopped, with nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

import media
from server import Server, ServerError
from server.api import BINARY
from server.settings import PROJECT
from tests.e2e.serving import WORKFLOW, moving_frames, pack, wait_for


def processes_of(folder: Path) -> list[list[str]]:
    """Command lines of everything that still works in or for that folder."""
    lines = (each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"]))
    return [line for line in lines if any(str(folder) in argument for argument in line)]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "server", *map(str, arguments)]
    return subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=240)


def interpolates(server: Server) -> bool:
    body = media.encode_npy(moving_frames(2))
    reply = server.api.call(WORKFLOW, data=body, headers=BINARY)
    return reply.status_code == 200 and reply.content.startswith(b"\x93NUMPY")


def test_it_starts_from_the_command_line_answers_and_leaves_nothing_but_logs(model_store, tmp_path):
    folder = tmp_path / "server"
    begun = time.monotonic()
    started = command("start", "--model-store", model_store, "--folder", folder, "--ports", "free")
    assert started.returncode == 0, started.stderr
    assert time.monotonic() - begun < 120
    try:
        server = Server(folder=folder)
        assert interpolates(server)
        again = command("start", "--folder", folder)
        assert "runs already" in again.stdout
        status = command("status", "--folder", folder, "--within", "60")
        assert status.returncode == 0
        assert f"pid {server.java_pid}" in status.stdout
        assert status.stdout.count("READY") == 2
        assert (folder / "key_file.json").stat().st_mode & 0o777 == 0o600
    finally:
        stopped = command("stop", "--folder", folder)
    assert stopped.stdout.startswith("Stopped")
    assert processes_of(folder) == []
    assert {path.name for path in folder.iterdir()} <= {"logs", "handoff.key", ".eden-server"}
    assert {path.name for path in (folder / ".eden-server").iterdir()} == {"lock"}
    assert command("stop", "--folder", folder).stdout.startswith("No server runs")
    assert command("status", "--folder", folder).returncode == 1


def test_status_tells_a_worker_that_answers_from_one_that_is_only_listed(server):
    (worker,) = server.worker_pids("eden__dit_decoder")
    os.kill(worker, signal.SIGSTOP)
    try:
        status = command("status", "--folder", server.folder, "--within", "1")
        assert server.api.is_serving()  # for all that TorchServe knows
    finally:
        os.kill(worker, signal.SIGCONT)
    assert status.returncode == 1
    assert status.stdout.startswith("Not ready")
    assert "eden__dit_decoder gives no answer within 1 s" in status.stdout
    assert "eden__encoder gives no answer" not in status.stdout
    wait_for(lambda: command("status", "--folder", server.folder).returncode == 0)


def test_the_printed_curl_line_works(server, tmp_path):
    first, second = moving_frames(2)
    (tmp_path / "first.png").write_bytes(media.encode_image(first, "png"))
    (tmp_path / "second.png").write_bytes(media.encode_image(second, "png"))
    status = command("status", "--folder", server.folder, "--within", "60").stdout
    (line,) = [line for line in status.splitlines() if "curl" in line]
    done = subprocess.run(["bash", "-c", line.removeprefix("Try").strip()], cwd=tmp_path, timeout=120)
    assert done.returncode == 0
    between = media.decode_image((tmp_path / "between.png").read_bytes(), max_pixels=10**6)
    assert between.shape == first.shape


def test_a_server_that_cannot_load_says_why_soon_and_is_gone(tmp_path):
    store = pack(tmp_path / "store", "--precision", "fp7")
    server = Server(store, folder=tmp_path / "server", ports="free")
    begun = time.monotonic()
    with pytest.raises(ServerError, match="fp7"):
        server.start()
    assert time.monotonic() - begun < 90
    assert not server.is_running()
    assert processes_of(tmp_path) == []


def test_what_is_missing_or_taken_is_named_before_anything_starts(model_store, server, tmp_path):
    incomplete = tmp_path / "store"
    shutil.copytree(model_store, incomplete)
    (incomplete / "eden.war").unlink()
    with pytest.raises(ServerError, match=r"eden\.war is missing.*archive\.sh"):
        Server(incomplete, folder=tmp_path / "server", ports="free").start()
    taken = {f"{name}_address": f"http://127.0.0.1:{getattr(server.ports, name)}" for name in ("inference", "metrics")}
    with pytest.raises(ServerError, match=f"Port {server.ports.inference} is taken"):
        Server(model_store, folder=tmp_path / "server", ports="free", config=taken).start()
    with pytest.raises(ServerError, match="already"):
        Server(folder=server.folder).start()
    assert interpolates(server)
    assert processes_of(tmp_path) == []


def test_variables_that_lead_elsewhere_do_no_harm_tokens_renew_and_a_long_path_fits(model_store, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.properties").write_text("inference_address=http://127.0.0.1:1\n")
    monkeypatch.setenv("JAVA_HOME", "/no/java/here")
    monkeypatch.setenv("TS_CONFIG_FILE", str(tmp_path / "elsewhere.properties"))
    monkeypatch.setenv("LOG_LOCATION", str(tmp_path / "elsewhere"))
    folder = tmp_path / ("a-folder-with-a-name-too-long-for-a-socket" * 2)
    # A token of one minute counts as nearly over at once, so every call renews it.
    with Server(model_store, folder=folder, ports="free", config={"token_expiration_min": 1}) as server:
        temporary = server._temporary
        first = server.token()
        assert server.token() != first
        assert interpolates(server)
        old = {"Authorization": f"Bearer {first}"}
        assert requests.post(f"{server.url}{WORKFLOW}", data=b"x", headers=old, timeout=10).status_code == 400
        autostart = server.worker_pids("autostart")
        os.kill(autostart[0], 9)
        wait_for(lambda: server.api.registration()["detail"].endswith("was registered already"))
        assert server.worker_pids("autostart") != autostart
    assert not temporary.exists()
    assert not (tmp_path / "elsewhere").exists()
