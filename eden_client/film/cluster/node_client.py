"""Which server a node asks: its own, or one of those that the command names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eden_client.api.client import EdenClient
from eden_client.api.local import local_key_file


@dataclass(frozen=True)
class NodeClient:
    """Makes the client of a segment on its node: plain data.

    EDEN_SERVER, EDEN_TOKEN and EDEN_KEY_FILE count as the node has them, for its own server; else what is here.
    """

    make: partial[EdenClient]
    """takes the server, its token and its key file"""
    servers: tuple[str, ...]
    """that segments take in turn"""
    token: str | None
    key_file: Path | None
    folder: Path
    """in which the command runs, and servers of its own machine may have been started"""

    def __call__(self, number: int) -> EdenClient:
        """For the segment with this number."""
        server = os.environ.get("EDEN_SERVER") or self.servers[number % len(self.servers)]
        token, key_file = os.environ.get("EDEN_TOKEN"), os.environ.get("EDEN_KEY_FILE")
        if token or key_file:
            return self.make(server, token=token, key_file=key_file)
        known = self.key_file
        if not (known or self.token):
            known = local_key_file(server) or local_key_file(server, self.folder)
        return self.make(server, token=self.token, key_file=known)
