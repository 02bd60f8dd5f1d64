"""Shared memory regions: files through which frames travel beside HTTP, between a client and a server of one host.

    0      MAGIC (16 bytes), the region's key (32 bytes), zeros up to HEADER bytes
    HEADER frames and room for those between, wherever the request's description says

A region is made by the client, who alone can read and write it (mode 0600); the server has the same user. Anyone may
list the folder, so a name is no secret: the key is, and only who has read the file or made it can know it.
"""

from __future__ import annotations

import re

CONTENT_TYPE = "application/vnd.eden.region+json"
"""Of a request's body that describes a region, and of the answer that says what was written into it."""
FOLDER = "/dev/shm"
PREFIX, SUFFIX, UNFINISHED = "eden-pixels-", ".region", ".new"
NAME = re.compile(r"eden-pixels-[0-9]{1,10}-[0-9a-f]{32}\.region", re.ASCII)
KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
MAGIC = b"EDEN-REGION\x01\0\0\0\0"
KEY_BYTES = 32
HEADER = 4096
"""Bytes before which no frame lies."""


def region_name(user: int, number: str) -> str:
    """The file's name; `number`: 32 random hexadecimal digits."""
    return f"{PREFIX}{user}-{number}{SUFFIX}"


def region_header(key: bytes) -> bytes:
    """What a region begins with. `key`: KEY_BYTES random bytes."""
    return MAGIC + key
