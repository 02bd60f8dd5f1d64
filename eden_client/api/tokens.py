"""Tokens: one that the user names, or the one in TorchServe's key_file.json, renewed when it has expired."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import requests

from eden_client.api.errors import ServerLost, TokenRejected
from eden_client.api.sessions import Bearer, proxy_note, session_for, with_scheme
from eden_client.api.tls import tls_note
from eden_client.folder_lock import FolderLock

NEARLY = 60.0
"""A token counts as expired this many seconds before its end."""

_PAUSES = (0.05, 0.1, 0.15, 0.2)
"""Seconds to wait before a key file is read again that TorchServe has begun to write."""

_RENEWING = threading.Lock()
"""Taken before the lock among processes, which would block all greenlets of a thread, also the one that holds it."""


class Token(Protocol):
    """A source of the token for calls."""

    def current(self) -> str | None:
        """The token to send now; None if the server needs none."""

    def replace(self, rejected: str | None) -> None:
        """Replace the token `rejected`, which the server did not accept. Raises TokenRejected: there is no other."""


class FixedToken:
    """A given token, which cannot be renewed; None for a server that needs none."""

    def __init__(self, token: str | None, server: str = "the server") -> None:
        self._token, self._server = token, server

    def current(self) -> str | None:
        return self._token

    def replace(self, rejected: str | None) -> None:
        what = "rejects this token" if rejected else "needs a token"
        raise TokenRejected(
            f"{self._server} {what}: name one (--token, EDEN_TOKEN) or its key_file.json (--key-file); "
            "for a second server, --decoder-token or --decoder-key-file",
            400,
            "InvalidKeyException",
        )


class KeyFile:
    """The inference token in TorchServe's key_file.json; without a management address it is not renewed.

    Renewing a token makes the old one invalid for everybody. So the file is read before each call, and the token is
    renewed under a lock by whoever comes first; the others find the new one in the file.
    """

    def __init__(self, path: Path, management_url: str | None, ca_file: Path | None = None) -> None:
        self.path, self.management_url, self._ca_file = path, management_url, ca_file

    def current(self) -> str | None:
        entry = self._read()["inference"]
        if self.management_url and _expired(entry):
            self._renew(entry["key"])
            entry = self._read()["inference"]
        return str(entry["key"])

    def replace(self, rejected: str | None) -> None:
        if self._read()["inference"]["key"] == rejected:
            self._renew(rejected)

    def _renew(self, old: str | None) -> None:
        if not self.management_url:
            raise TokenRejected(
                f"the server rejects the token in {self.path}, and it is not known where to renew it: name the "
                "server's management address (--management; for a second server, --decoder-management)"
            )
        with _RENEWING, FolderLock(self.path.parent, wait=True):
            keys = self._read()
            if keys["inference"]["key"] != old:
                return
            url = f"{with_scheme(self.management_url).rstrip('/')}/token"
            auth, what = Bearer(keys["API"]["key"]), {"type": "inference"}
            failed = f"the token in {self.path} cannot be renewed"
            try:
                with session_for(url, self._ca_file) as session:
                    reply = session.get(url, params=what, auth=auth, timeout=10, allow_redirects=False)
            except requests.RequestException as error:
                raise ServerLost(f"{failed}: no answer from {url}{tls_note(error)}{proxy_note(url)}") from error
            if reply.status_code != 200:
                raise TokenRejected(f"{failed}: {url} answered {reply.status_code} {reply.reason}{proxy_note(url)}")

    def _read(self) -> dict[str, dict[str, str]]:
        for pause in (*_PAUSES, None):
            try:
                data = self.path.read_bytes()
            except FileNotFoundError as error:
                raise ServerLost(f"{self.path} does not exist: is the server running?") from error
            except OSError as error:
                raise TokenRejected(f"{self.path} cannot be read: {error.strerror}") from error
            try:
                keys: dict[str, Any] = json.loads(data)
            except ValueError:
                if pause is None or not b"{".startswith(data[:1]):
                    break
                time.sleep(pause)  # TorchServe may be writing it
            else:
                if _is_complete(keys):
                    return keys
                break
        raise TokenRejected(f"{self.path} is not a TorchServe key file")


def _is_complete(keys: Any) -> bool:
    try:
        return all(keys[kind]["key"] for kind in ("inference", "API")) and bool(keys["inference"]["expiration time"])
    except (KeyError, TypeError):
        return False


def _expired(entry: dict[str, str]) -> bool:
    # TorchServe writes UTC with nanoseconds, which fromisoformat does not take.
    end = datetime.fromisoformat(entry["expiration time"][:19]).replace(tzinfo=UTC)
    return (end - datetime.now(UTC)).total_seconds() < NEARLY
