"""What the service is told at its start, and what it allows."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Bounds on what visitors may take."""

    upload_bytes: int = 4 * GIB
    """of one film"""
    uploads: int = 100
    upload_total_bytes: int = 64 * GIB
    """of all uploads together, as announced"""
    reserve_bytes: int = 2 * GIB
    """of the disk that are left free"""
    videos: int = 1000
    """in any state"""
    queue: int = 100
    """that are not ended yet"""
    keep_s: float = 7 * 24 * 3600
    """from the last use of an upload, and the end of a video, until it is removed"""
    body_bytes: int = 64 << 10
    """of a body that is no film"""
    event_streams: int = 32
    live: int = 4
    """exchanges of live pictures"""
    previews: int = 500
    """files that are kept of an upload: thumbnails, cuts"""
    preview_bytes: int = 32 << 20
    """of them together"""
    read_s: float = 60
    """until a picture of an upload has to be there"""
    calls: int = 4
    """of the EDEN server at once, for single pairs"""
    connections: int = 128
    receive_s: float = 30
    """until the head of a request has to be there, and the next part of a body"""
    send_s: float = 60
    """until a part of an answer has to be taken"""


@dataclass(frozen=True)
class Settings:
    """Of one service.

    folder         all that it writes; made with mode 0700
    allowed_hosts  names of the Host header, beside those of loopback and `host`
    token          that every request has to carry; None: none
    at_once        films that are made side by side
    film_options   of the command eden-interpolate, for every film
    command        what makes a film: eden-interpolate, ended with this service
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8008
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = None
    at_once: int = 1
    film_options: tuple[str, ...] = ()
    command: tuple[str, ...] = (sys.executable, "-m", "web.worker")
    heartbeat_s: float = 15
    wait_s: float = 10
    """after which who asks for cuts is told how far it is"""
    limits: Limits = field(default_factory=Limits)
