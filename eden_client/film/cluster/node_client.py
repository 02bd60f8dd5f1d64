"""Chooses the server that a node asks: its own, or one of those that the command names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eden_client.api.client import EdenClient
from eden_client.api.local import local_key_file


@dataclass(frozen=True)
class NodeClient:
    """Makes the client for a segment, on the node that makes the segment. It can be pickled.

    Where a node sets EDEN_SERVER, EDEN_TOKEN or EDEN_KEY_FILE, it asks that server; else those named here.
    """

    make: partial[EdenClient]
    """makes a client from a server's address, its token and its key file"""
    servers: tuple[str, ...]
    """addresses, which segments take in turn"""
    token: str | None
    key_file: Path | None
    folder: Path
    """the command's working folder, in which servers of its machine may have been started"""

    def __call__(self, number: int) -> EdenClient:
        """The client for the segment with this index."""
        server = os.environ.get("EDEN_SERVER") or self.servers[number % len(self.servers)]
        token, key_file = os.environ.get("EDEN_TOKEN"), os.environ.get("EDEN_KEY_FILE")
        if token or key_file:
            return self.make(server, token=token, key_file=key_file)
        known = self.key_file
        if not (known or self.token):
            known = local_key_file(server) or local_key_file(server, self.folder)
        return self.make(server, token=self.token, key_file=known)
