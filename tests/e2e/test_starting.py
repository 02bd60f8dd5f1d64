"""What a start, a status and a call say of a server that is well, that hangs, and that cannot start at all."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
import requests

from server import Server, ServerError
from tests.e2e.servers import command, interpolates, pack, processes_of, run_printed_call, wait_for
from tests.recorder import recorder


def test_status_tells_a_worker_that_answers_from_one_that_is_only_listed(server):
    (worker,) = server.worker_pids("eden__dit_decoder")
    os.kill(worker, signal.SIGSTOP)
    try:
        status = command("status", "--folder", server.folder, "--within", "12")
        assert server.api.is_serving()  # for all that TorchServe knows
    finally:
        os.kill(worker, signal.SIGCONT)
    assert status.returncode == 1
    assert status.stdout.startswith("Not ready")
    assert "eden__dit_decoder gives no answer within 12 s" in status.stdout
    assert "eden__encoder gives no answer" not in status.stdout
    wait_for(lambda: command("status", "--folder", server.folder).returncode == 0)


def test_the_printed_curl_line_works(server, tmp_path):
    status = command("status", "--folder", server.folder, "--within", "60").stdout
    assert run_printed_call(status, tmp_path).shape == (64, 96, 3)


def test_a_management_token_registers_archives_of_the_model_store_and_no_others(server, model_store, tmp_path):
    """An archive is code."""
    shutil.copy(model_store / "autostart.mar", tmp_path / "theirs.mar")
    shutil.copy(model_store / "eden.war", tmp_path / "theirs.war")
    before = server.api.workflows(), server.api.describe("theirs")
    with recorder() as elsewhere:
        for archive in ("theirs.mar", "theirs.war"):
            there = tmp_path / archive
            for url in (f"{elsewhere.url}/{archive}", there.as_uri(), str(there), os.path.relpath(there, model_store)):
                with pytest.raises(requests.HTTPError, match="404"):
                    server.api.register(url)
        assert elsewhere.heard == []
    assert (server.api.workflows(), server.api.describe("theirs")) == before


def test_a_server_that_cannot_load_says_why_soon_and_is_gone(tmp_path):
    store = pack(tmp_path / "store", "--precision", "fp7")
    server = Server(store, folder=tmp_path / "server", ports="free")
    begun = time.monotonic()
    with pytest.raises(ServerError, match="fp7"):
        server.start()
    assert time.monotonic() - begun < 240  # not the ten minutes that a start may take; beside other work it took one
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
