"""Encoder in one TorchServe, decoder in another; the client carries the ticket, the key is all that they share.

For machines where test_two_hosts.py cannot have hosts of their own, which shows the same and more. Tokens go by HTTP;
EDEN_ALL_KINDS=1 takes every network kind in turn.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from server import Server
from tests.e2e.servers import moving_frames, pack
from tests.hosts import hosts_are_allowed

KINDS = ["http", "zeromq", "grpc", "websocket"]


@pytest.mark.skipif(hosts_are_allowed(), reason="test_two_hosts.py shows it on hosts of their own")
@pytest.mark.parametrize("kind", KINDS if os.environ.get("EDEN_ALL_KINDS") else KINDS[:1])
def test_a_ticket_from_one_server_becomes_a_frame_on_another(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDEN_HANDOFF_KEY", "carried by the operator's hand")
    memories = [tmp_path / "cloud-memory", tmp_path / "edge-memory"]  # what each machine's /dev/shm would be
    servers = []
    for name, memory in zip(("cloud", "edge"), memories, strict=True):
        memory.mkdir()
        settings = "--set", f"handoff.shared_folder={memory}", "--set", "threads=1"  # of which rounding depends
        store = pack(tmp_path / f"{name}-store", "--handoff", kind, *settings)
        servers.append(Server(store, folder=tmp_path / name, ports="free"))
    cloud, edge = servers
    body = io.BytesIO()
    np.save(body, moving_frames())
    with cloud, edge:
        binary = {"Content-Type": "application/octet-stream"}
        ticket = cloud.api.call("/predictions/eden__encoder", data=body.getvalue(), headers=binary)
        assert ticket.status_code == 200, ticket.text[:500]
        assert ticket.content.startswith(b"EDEN-TICKET")
        frame = edge.api.call(
            "/predictions/eden__dit_decoder", data=ticket.content, headers=binary | {"Accept": "image/png"}
        )
        assert frame.status_code == 200, frame.text[:500]
        forged = edge.api.call("/predictions/eden__dit_decoder", data=ticket.content[:-1], headers=binary)
        assert 400 <= forged.status_code < 500
        here = cloud.api.call("/wfpredict/eden", data=body.getvalue(), headers=binary | {"Accept": "image/png"})
    assert len(ticket.content) < 4096
    pictures = [np.asarray(Image.open(io.BytesIO(reply.content))) for reply in (frame, here)]
    assert pictures[0].shape == (64, 96, 3)
    np.testing.assert_array_equal(pictures[0], pictures[1])
