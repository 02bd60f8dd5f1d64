"""What a stop leaves behind: nothing, wherever the hand-off's shared memory lies."""

from __future__ import annotations

import shutil

import media
from server import Server
from server.api import BINARY
from tests.e2e.serving import PREDICT, moving_frames, pack


def test_payloads_that_nobody_took_go_with_the_server_wherever_they_lie(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    settings = ("--handoff", "shared_memory", "--set", f"handoff.shared_folder={shared}")
    store = pack(tmp_path / "store", *settings)
    with Server(store, folder=tmp_path / "server", ports="free") as server:
        ticket = server.api.call(PREDICT[0], data=media.encode_npy(moving_frames(2)), headers=BINARY)
        assert ticket.content.startswith(b"EDEN-TICKET")
        assert list(shared.glob("*.segment"))
        shutil.rmtree(store)  # what counts is what the server was started with
    assert list(shared.iterdir()) == []
    assert {path.name for path in (tmp_path / "server").iterdir()} <= {".eden-server", "logs", "handoff.key"}
