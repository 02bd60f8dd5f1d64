"""A worker whose GPU context breaks amid a call answers it, ends, comes back, and draws the clip when asked again."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import media
from eden_client import EdenClient
from server import Server
from server.java import JavaNotFound, find_java
from tests.e2e.servers import moving_frames, pack

HANDLER = """
from pathlib import Path

import torch

from handlers.eden_fused import FusedHandler

BREAK = Path({flag!r})


class BreakingHandler(FusedHandler):
    def serve(self, requests, outbox):
        if BREAK.exists():
            BREAK.unlink()
            size = torch.zeros(1, device=self.device)
            torch.index_select(size, 0, torch.tensor([1 << 20], device=self.device))  # a failed device-side assertion
        return super().serve(requests, outbox)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose fused model breaks its own context once the flag is there."""
    try:
        find_java()
    except JavaNotFound as error:
        pytest.skip(str(error))
    folder = pack(tmp_path / "store", "--topology", "fused", "--fused-workers", "1")
    plain, broken = folder / "eden_fused.mar", folder / "broken.mar"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(broken, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == "eden_fused.py":
                data = HANDLER.format(flag=str(tmp_path / "break")).encode()
            target.writestr(entry, data)
    shutil.move(broken, plain)
    return folder


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_answers_ends_and_comes_back(store: Path, tmp_path: Path):
    frames = list(moving_frames(4, 256, 448))
    with Server(store, folder=tmp_path / "server", ports="free") as server:
        (before,) = server.worker_pids("eden_fused")
        client = EdenClient(server.url, key_file=server.tokens.path, route="fused", transport="npy")
        with client:
            expected = client.interpolate_clip(frames)
            (tmp_path / "break").touch()
            reply = server.api.call(
                "/predictions/eden_fused",
                data=media.encode_npy(np.stack(frames)),
                headers={"Content-Type": "application/octet-stream"},
            )
            told = reply.json()
            print(f"while it broke: {reply.status_code} {told}")
            assert (reply.status_code, told["type"], told["retry"]) == (503, "DeviceLost", "later")
            (tmp_path / "break").touch()
            again = client.interpolate_clip(frames)  # the next worker breaks as well, and is ridden out
        (after,) = server.worker_pids("eden_fused")
        print(f"the worker was {before}, is {after}; calls sent again: {client.traffic.counts()['retries']}")
        assert after != before
        assert not (tmp_path / "break").exists()
        assert np.abs(again.astype(int) - expected).max() <= 1
