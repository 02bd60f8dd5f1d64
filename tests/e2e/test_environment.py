"""Variables in the environment that lead elsewhere: a start, calls, films and load go where they should."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import media
from server import Server
from server.api import BINARY
from server.settings import PROJECT
from tests.e2e.client_films import write_film
from tests.e2e.servers import WORKFLOW, interpolates, moving_frames, run_printed_call, wait_for
from tests.recorder import Recorder, recorder

KINDS = ("http", "https", "all", "grpc")
LOAD = ["--frame-size", "64x96", "--clip", "3", "--film-frames", "12", "-u", "1", "-t", "60s", "--enough", "6"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is too long for a socket in it."""
    folder = tmp_path_factory.mktemp("environment") / ("a-folder-with-a-name-too-long-for-a-socket" * 2)
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def proxy(root: Path) -> Iterator[Recorder]:
    """Where calls go that take the environment at its word, which leads Java, settings and logs elsewhere, too."""
    elsewhere = root / "elsewhere"
    (root / "elsewhere.properties").write_text("inference_address=http://127.0.0.1:1\n")
    with recorder() as listening, pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            for name in (f"{kind}_proxy", f"{kind}_proxy".upper()):
                patch.setenv(name, listening.url)
        for name in ("no_proxy", "NO_PROXY", "EDEN_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("JAVA_HOME", "/no/java/here")
        patch.setenv("TS_CONFIG_FILE", str(root / "elsewhere.properties"))
        patch.setenv("LOG_LOCATION", str(elsewhere))
        yield listening
    assert not elsewhere.exists()


@pytest.fixture(scope="module")
def server(proxy: Recorder, root: Path, model_store: Path) -> Iterator[Server]:
    """Started in such an environment. A token of one minute counts as nearly over at once, so every call renews it."""
    folder = root / "run" / "server"
    settings = ("--ports", "free", "--set", "token_expiration_min=1", "--model-store", model_store)
    try:
        python("server", "start", "--folder", folder, *settings)
        running = Server(folder=folder)
        temporary = running._temporary
        assert temporary is not None and temporary.exists()
        yield running
    finally:
        Server(folder=folder).stop()
    assert not temporary.exists()


def python(*arguments: object, cwd: Path = PROJECT) -> str:
    call = [sys.executable, "-m", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tokens_renew_and_autostart_comes_back(server: Server) -> None:
    first = server.token()
    assert server.token() != first
    assert interpolates(server)
    with requests.Session() as direct:
        direct.trust_env = False
        old = BINARY | {"Authorization": f"Bearer {first}"}
        assert direct.post(f"{server.url}{WORKFLOW}", data=b"x", headers=old, timeout=60).status_code == 400
    autostart = server.worker_pids("autostart")
    os.kill(autostart[0], 9)
    wait_for(lambda: server.api.registration()["detail"].endswith("was registered already"))
    assert server.worker_pids("autostart") != autostart


def test_calls_films_load_and_renewal_reach_the_server_and_the_proxy_hears_nothing(
    server: Server, proxy: Recorder, root: Path, tmp_path: Path
) -> None:
    status = python("server", "status", "--within", 60, "--folder", server.folder)
    assert run_printed_call(status, tmp_path).shape == (64, 96, 3)

    source = write_film(tmp_path / "film.mkv", moving_frames(4))
    token = server.token()
    for route in ("--workflow", "--chain"):
        # Seen from the root, the folder run/server is that of the server at this address: its key file is taken.
        result = tmp_path / f"smooth{route}.mkv"
        film = ("--strategy", "batch", "--clip", 4, "--cuts", "off")  # one call at a time, for the reason below
        python("eden_client", source, result, "--server", server.url, *film, route, cwd=root)
        with media.open_video(result) as doubled:
            assert sum(1 for _ in doubled.frames()) == 7
    assert server.token() != token

    where = ("--host", server.url, "--grpc", f"127.0.0.1:{server.grpc_port}", "--key-file", server.tokens.path)
    for tag in ("chain", "grpc"):  # one user at a time: each renewal voids the token of all others
        python("locust", "-f", "loadtest/", "--headless", "--tags", tag, *where, *LOAD)
    assert proxy.heard == []
    requests.get("http://eden.invalid/", timeout=60)
    assert proxy.heard  # as it would have heard the rest
