"""TorchServe's tokens: key_file.json in its working folder, one key each for inference and management."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from server.http import request

NEARLY = 60.0
"""A token counts as expired this many seconds before its end."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of the server that runs in `folder`; `management_url` is where an expired one is renewed."""

    folder: Path
    management_url: str

    @property
    def path(self) -> Path:
        return self.folder / "key_file.json"

    def get(self, kind: str = "inference") -> str | None:
        """A token of `kind` ("inference" or "management") that is valid for another minute; None if tokens are off.

        An expired token is renewed, which makes the old one invalid for everybody. So the file is read anew each time,
        and
        a token is renewed under a lock (on the file's folder, as eden_client does).
        Raises requests' errors, and ValueError: the file is damaged.
        """
        entry = self._entry(kind)
        if entry and _expired(entry):
            with self._locked():
                if self._entry(kind) == entry:
                    self._renew(kind)
            entry = self._entry(kind)
        return entry["key"] if entry else None

    def headers(self, kind: str = "inference") -> dict[str, str]:
        """The Authorization header for a call, as a dictionary; empty if tokens are off."""
        token = self.get(kind)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _entry(self, kind: str) -> dict[str, str] | None:
        for _ in range(20):
            try:
                entry: dict[str, str] = json.loads(self.path.read_text(encoding="utf-8"))[kind]
                return entry
            except FileNotFoundError:
                return None
            except json.JSONDecodeError:  # caught while it is being written
                time.sleep(0.05)
        raise ValueError(f"{self.path} is not valid JSON")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _renew(self, kind: str) -> None:
        key = (self._entry("API") or {}).get("key")
        reply = request(
            "GET",
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
