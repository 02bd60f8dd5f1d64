"""TorchServe's tokens: key_file.json in its working folder, one key each for inference and management."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import requests

NEARLY = 60.0
"""Seconds before its end at which a token counts as expired."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of the server that runs in `folder`; `management_url` is where an expired one is renewed."""

    folder: Path
    management_url: str

    @property
    def path(self) -> Path:
        return self.folder / "key_file.json"

    def get(self, kind: str = "inference") -> str | None:
        """A token of that kind ("inference" or "management") that is good for another minute; None if tokens are off.

        An expired one is renewed, which voids the old: so the file is read anew each time, others renew too.
        """
        entry = self._entry(kind)
        if entry and _expired(entry):
            self._renew(kind)
            entry = self._entry(kind)
        return entry["key"] if entry else None

    def headers(self, kind: str = "inference") -> dict[str, str]:
        """The Authorization header for a call; empty if tokens are off."""
        token = self.get(kind)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _entry(self, kind: str) -> dict[str, str] | None:
        for _ in range(20):
            try:
                entry: dict[str, str] = json.loads(self.path.read_text())[kind]
                return entry
            except FileNotFoundError:
                return None
            except json.JSONDecodeError:  # caught while it is being written
                time.sleep(0.05)
        raise ValueError(f"{self.path} is not readable as JSON")

    def _renew(self, kind: str) -> None:
        key = (self._entry("API") or {}).get("key")
        reply = requests.get(
            f"{self.management_url}/token",
            params={"type": kind},
            headers={"Authorization": f"Bearer {key}"},
            timeout=10,
        )
        reply.raise_for_status()


def _expired(entry: dict[str, str]) -> bool:
    # TorchServe writes an instant in UTC with nanoseconds, "2025-01-31T12:00:00.123456789Z".
    end = datetime.fromisoformat(entry["expiration time"][:19]).replace(tzinfo=UTC)
    return (end - datetime.now(UTC)).total_seconds() < NEARLY
