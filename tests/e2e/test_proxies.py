"""HTTP_PROXY and its kin in the environment: nothing between this machine and itself goes by a proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import media
from server import Server
from server.settings import PROJECT
from tests.e2e.client_films import write_film
from tests.e2e.serving import moving_frames
from tests.recorder import recorder

KINDS = ("http", "https", "all", "grpc")
LOAD = ["--frame-size", "64x96", "--clip", "3", "--film-frames", "12", "-u", "1", "-t", "60s", "--enough", "6"]


@pytest.fixture
def proxy(monkeypatch):
    """What every call would go to that takes the environment at its word."""
    with recorder() as listening:
        for kind in KINDS:
            for name in (f"{kind}_proxy", f"{kind}_proxy".upper()):
                monkeypatch.setenv(name, listening.url)
        for name in ("no_proxy", "NO_PROXY", "EDEN_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield listening


def python(*arguments: object, cwd: Path = PROJECT) -> str:
    call = [sys.executable, "-m", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_start_a_call_films_load_and_renewal_reach_the_server_and_the_proxy_hears_nothing(
    proxy, model_store, tmp_path
):
    folder = tmp_path / "run" / "server"
    source = write_film(tmp_path / "film.mkv", moving_frames(4))
    first, second = moving_frames(2)
    (tmp_path / "first.png").write_bytes(media.encode_image(first, "png"))
    (tmp_path / "second.png").write_bytes(media.encode_image(second, "png"))
    # A token of one minute counts as nearly over at once, so every call renews it.
    settings = ("--ports", "free", "--set", "token_expiration_min=1", "--model-store", model_store)
    try:
        python("server", "start", "--folder", folder, *settings)
        server = Server(folder=folder)
        (line,) = [
            line
            for line in python("server", "status", "--within", 60, "--folder", folder).splitlines()
            if "curl" in line
        ]
        subprocess.run(["bash", "-c", line.removeprefix("Try").strip()], cwd=tmp_path, check=True, timeout=60)
        between = media.decode_image((tmp_path / "between.png").read_bytes(), max_pixels=10**6)
        assert between.shape == first.shape

        token = server.token()
        for route in ("--workflow", "--chain"):
            # Seen from here, the folder run/server is that of the server at this address: its key file is taken.
            result = f"smooth{route}.mkv"
            film = ("--strategy", "batch", "--clip", 4, "--cuts", "off")  # one call at a time, for the reason below
            python("eden_client", source, result, "--server", server.url, *film, route, cwd=tmp_path)
            with media.open_video(tmp_path / result) as doubled:
                assert sum(1 for _ in doubled.frames()) == 7
        assert server.token() != token

        where = ("--host", server.url, "--grpc", f"127.0.0.1:{server.grpc_port}", "--key-file", server.tokens.path)
        for tag in ("chain", "grpc"):  # one user at a time: each renewal voids the token of all others
            python("locust", "-f", "loadtest/", "--headless", "--tags", tag, *where, *LOAD)
        assert proxy.heard == []
        requests.get("http://eden.invalid/", timeout=10)
        assert proxy.heard  # as it would have heard the rest
    finally:
        Server(folder=folder).stop()
