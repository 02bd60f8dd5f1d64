"""The command eden-interpolate with a client that a test holds: python -m tests.e2e.held_command INPUT OUTPUT ..."""

from __future__ import annotations

from eden_client.cli import connect
from eden_client.cli.main import run
from tests.e2e.held_client import Held

if __name__ == "__main__":
    connect.EdenClient = Held
    raise SystemExit(run())
