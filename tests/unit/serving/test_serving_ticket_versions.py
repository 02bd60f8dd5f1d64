"""A ticket that another version signed, as it comes while servers are replaced one after the other."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

import media
from eden import EncoderOutput
from handoff.key import VARIABLE
from handoff.payload.layout import parse_layout
from handoff.ticket import MAGIC, VERSION, verify
from serving.request import Caller, Request
from tests.e2e.servers import moving_frames
from tests.unit.serving.conftest import Nodes, Outbox

KEPT = Path(__file__).parents[2] / "data" / "tickets"
KEY = "kept for tests of versions: of no server"
OPTIONS = {"seed": b"7", "format": b"png", "priority": b"live", "deadline_ms": b"60000"}
MakeNodes = Callable[..., Nodes]


@pytest.fixture(autouse=True)
def _of_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.ticket")), ids=lambda path: path.stem)
def test_a_ticket_of_any_version_that_was_released_is_drawn(
    path: Path, make_nodes: MakeNodes, networks, monkeypatch: pytest.MonkeyPatch
):
    ticket, said = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
    assert ticket[: len(MAGIC) + 1] == MAGIC + bytes([int(path.stem)])
    soon = said["put"] + 1
    monkeypatch.setattr("handoff.ticket.time", SimpleNamespace(time=lambda: soon))
    nodes = make_nodes(kind="inline", clock=lambda: soon)
    (answer,) = nodes.decoder.serve([Request(0, {"body": ticket}, {}, Caller.HTTP, arrived=soon)], Outbox())
    assert (answer.status, answer.content_type) == (200, "image/png"), answer.body

    # The same from what is known of it otherwise: a safetensors file lies behind the signature.
    layout = parse_layout(said["layout"])
    tensors = safetensors.torch.load(ticket[-layout.nbytes :])
    (expected,) = networks[1].interpolate(
        [EncoderOutput(**tensors, grid=layout.grid, size=layout.size)], seeds=[said["options"]["seed"]]
    )
    drawn = torch.from_numpy(media.decode_image(answer.body, max_pixels=10**6)).movedim(-1, 0)
    assert torch.equal(drawn, (expected[0] * 255).round().to(torch.uint8))
    known = verify(ticket, KEY.encode())
    assert {"put": known.put, "deadline": known.deadline, "options": known.options} == {
        name: said[name] for name in ("put", "deadline", "options")
    }


def test_its_deadlines_are_kept(make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch):
    path = KEPT / f"{VERSION[0]}.ticket"
    said = json.loads(path.with_suffix(".json").read_text())
    for now, error in ((said["options"]["due"] + 1, "DeadlinePassed"), (said["deadline"] + 1, "TicketRejected")):
        monkeypatch.setattr("handoff.ticket.time", SimpleNamespace(time=lambda now=now: now))
        nodes = make_nodes(kind="inline", clock=lambda now=now: now)
        (answer,) = nodes.decoder.serve([Request(0, {"body": path.read_bytes()}, {}, Caller.HTTP)], Outbox())
        assert json.loads(answer.body)["type"] == error


def test_one_of_the_version_that_is_signed_today_is_kept(make_nodes: MakeNodes):
    path = KEPT / f"{VERSION[0]}.ticket"
    nodes = make_nodes(kind="inline", time_to_live_s=300.0)
    fields = {f"frame{i}": media.encode_image(frame, "png") for i, frame in enumerate(moving_frames(2, 32, 48))}
    (answer,) = nodes.encoder.serve([Request(0, fields | OPTIONS, {}, Caller.HTTP, arrived=time.time())])
    signed = verify(answer.body, KEY.encode())
    said = {"put": signed.put, "deadline": signed.deadline, "layout": signed.layout.text, "options": signed.options}
    if os.environ.get("EDEN_RECORD"):
        assert not path.exists(), f"{path.name} is as some version signed it: it does not change"
        path.write_bytes(answer.body)
        path.with_suffix(".json").write_text(json.dumps(said, indent=1) + "\n")
    assert path.exists(), "a new version: keep a ticket of it with EDEN_RECORD=1 (tests/data/tickets/README.md)"
    kept = json.loads(path.with_suffix(".json").read_text())
    assert (kept["layout"], set(kept["options"])) == (said["layout"], set(said["options"])), "then it is a new version"
