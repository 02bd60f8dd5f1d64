"""The file in which TorchServe keeps its keys, as a test wants it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path


def write_key_file(file: Path, key: str, seconds: float, api: str = "api") -> Path:
    """`key` is the token for inference and for management, good for so long; `api` is the key that renews them."""
    end = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    entry = {"key": key, "expiration time": end}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"inference": entry, "management": entry, "API": {"key": api}}))
    return file
