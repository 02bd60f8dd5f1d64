"""The fixture behind the contract suite: peers of one kind, with a folder and a piece of shared memory of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handoff import HandoffSettings
from tests.contract.peers import Peer
from tests.contract.suite import Case


class Stage:
    """Starts peers, and ends them."""

    def __init__(self, case: Case, folder: Path, shared: Path) -> None:
        self._case = case
        self._folder = folder
        self._shared = shared
        self._peers: list[Peer] = []

    def settings(self, folder: str = "server", **changes: Any) -> HandoffSettings:
        common = {"kind": self._case.kind, "folder": self._folder / folder, "shared_folder": self._shared}
        return HandoffSettings(**{"timeout_s": 5.0, **common, **self._case.settings, **changes})

    def __call__(self, role: str, **changes: Any) -> Peer:
        device = self._case.producer_device if role == "producer" else self._case.consumer_device
        peer = Peer(self.settings(**changes), device, transport=self._case.transport)
        self._peers.append(peer)
        return peer

    def litter(self) -> list[str]:
        return sorted(path.name for path in self._shared.iterdir())

    def end(self) -> None:
        for peer in self._peers:
            peer.end()


@pytest.fixture
def start(case: Case, tmp_path: Path) -> Iterator[Stage]:
    """Starts a peer: start("producer" or "consumer", setting=value, ...)."""
    shared = Path(tempfile.mkdtemp(prefix="eden-test-", dir="/dev/shm"))
    stage = Stage(case, tmp_path, shared)
    yield stage
    stage.end()
    shutil.rmtree(shared)
