"""The command that raises a film's frame rate by an EDEN server, and the client that it uses, for programs.

from eden_client import EdenClient

with EdenClient("http://127.0.0.1:8080", key_file="run/server/key_file.json") as client:
    between = client.interpolate_pair(first, second)
"""

from eden_client.api.client import EdenClient
from eden_client.api.errors import (
    EdenError,
    NotOffered,
    PayloadLost,
    Refused,
    RegionUnavailable,
    ServerAway,
    ServerBusy,
    ServerFailed,
    ServerLost,
    ServerTrouble,
    TokenRejected,
    TooLarge,
)
from eden_client.api.sessions import TokenInClear
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import Trace

__all__ = [
    "EdenClient",
    "EdenError",
    "NotOffered",
    "PayloadLost",
    "Refused",
    "RegionUnavailable",
    "ServerAway",
    "ServerBusy",
    "ServerFailed",
    "ServerLost",
    "ServerTrouble",
    "TokenInClear",
    "TokenRejected",
    "TooLarge",
    "Trace",
    "YuvFormat",
]
