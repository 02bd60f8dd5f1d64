"""The service's settings, and its bounds."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Bounds on what visitors may use."""

    upload_bytes: int = 4 * GIB
    """most bytes of one film"""
    uploads: int = 100
    upload_total_bytes: int = 64 * GIB
    """most bytes of all uploads together, as announced"""
    reserve_bytes: int = 2 * GIB
    """bytes of the disk that stay free"""
    videos: int = 1000
    """most videos in any state"""
    queue: int = 100
    """most videos that have not ended"""
    keep_s: float = 7 * 24 * 3600
    """seconds after its last use until an upload is removed, and after its end until a video is"""
    body_bytes: int = 64 << 10
    """most bytes of a request's body that is not a film"""
    event_streams: int = 32
    live: int = 4
    """most live connections"""
    previews: int = 500
    """most files cached per upload: thumbnails, cuts"""
    preview_bytes: int = 32 << 20
    """most bytes of these files per upload"""
    read_s: float = 60
    """seconds that reading a picture of an upload may take"""
    calls: int = 4
    """most calls of the EDEN server at once, for single pairs"""
    connections: int = 128
    receive_s: float = 30
    """seconds for a request's head to arrive, and for each next part of its body"""
    send_s: float = 60
    """seconds for a client to accept each part of an answer"""


@dataclass(frozen=True)
class Settings:
    """The settings of one service.

    folder         holds all that it writes; made with mode 0700
    allowed_hosts  accepted names in the Host header, beside loopback's and `host`
    token          that every request must carry; None: no token
    at_once        films that are made at once
    film_options   options of the command eden-interpolate for every film
    command        makes a film: eden-interpolate, which ends with this service
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
    """seconds after which a request for cuts is answered with those found so far"""
    limits: Limits = field(default_factory=Limits)
