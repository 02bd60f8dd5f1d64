"""Shared memory regions: files that carry frames, instead of HTTP bodies, between a client and a server of one host.

    0      MAGIC (16 bytes), the region's key (32 bytes), zeros up to HEADER bytes
    HEADER frames, and room for the frames between, at the offsets that the request states

The client makes a region with mode 0600, so only its user can read and write it: client and server have the same user.
Anyone may list the folder, so a region's name is no secret; its key is, which only a user who can read the file knows.
"""

from __future__ import annotations

import re

CONTENT_TYPE = "application/vnd.eden.region+json"
"""Content type of a request that describes a region, and of the answer that states what was written into it."""
FOLDER = "/dev/shm"
PREFIX, SUFFIX, UNFINISHED = "eden-pixels-", ".region", ".new"
NAME = re.compile(r"eden-pixels-[0-9]{1,10}-[0-9a-f]{32}\.region", re.ASCII)
KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
MAGIC = b"EDEN-REGION\x01\0\0\0\0"
KEY_BYTES = 32
HEADER = 4096
"""Bytes at the start of a region that hold no frames."""


def region_name(user: int, number: str) -> str:
    """The name of a region's file. `user`: the user id; `number`: 32 random hexadecimal digits."""
    return f"{PREFIX}{user}-{number}{SUFFIX}"


def region_header(key: bytes) -> bytes:
    """The first bytes of a region. `key`: KEY_BYTES random bytes."""
    return MAGIC + key
