"""HTTP calls to one TorchServe, with its token; its errors become EdenErrors."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from eden_client.api.errors import (
    EdenError,
    ServerAway,
    ServerFailed,
    ServerLost,
    ServerTrouble,
    TokenRejected,
    envelope_in,
)
from eden_client.api.sessions import Bearer, proxy_note, session_for, with_scheme
from eden_client.api.tls import tls_note
from eden_client.api.tokens import Token
from eden_client.api.traffic import Traffic
from eden_client.trace.recording import UNTRACED, Step

BLOCK = 1 << 18
"""Bytes written and read at once; with the library's 8 and 16 KB this would cost as much as packing the frames."""

GATEWAY = (429, 502, 503, 504)
"""Statuses of a gateway or load balancer that cannot pass a call on, or accepts no more."""


class HttpConnection:
    """One TorchServe. Any number of threads may call it; each call takes a connection of its own.

    ca_file  of the authorities to trust by https (default: the environment's, see `tls.ca_bundle`)
    """

    def __init__(self, url: str, token: Token, traffic: Traffic, connections: int, ca_file: Path | None = None) -> None:
        self.url = with_scheme(url).rstrip("/")
        self._token, self._traffic = token, traffic
        self._session = session_for(self.url, ca_file)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _WideAdapter(pool_maxsize=connections))

    def call(self, path: str, body: bytes, headers: Mapping[str, str], within: float, step: Step = UNTRACED) -> bytes:
        """POST and return the whole answer; the server may be silent for `within` seconds. Raises EdenError.

        step: of a trace, that this is part of.
        """
        with step.child(f"POST {path}") as sending:
            with self._reply(path, body, headers, within, sending) as reply:
                answer = sending.heard(b"".join(self._chunks(reply)))
            sending.note(**{"http.response.body.size": len(answer)})
        if error := envelope_in(answer):
            raise error
        return answer

    @contextmanager
    def streamed(
        self, path: str, body: bytes, headers: Mapping[str, str], within: float, step: Step = UNTRACED
    ) -> Iterator[Iterator[bytes]]:
        """POST, and yield the answer's bytes as they arrive. An expired token is replaced once. Raises EdenError."""
        with step.child(f"POST {path}") as sending, self._reply(path, body, headers, within, sending) as reply:
            chunks = sending.overhear(self._chunks(reply))
            yield chunks
            if sending.recorded:
                for _ in chunks:  # the spans come behind the last frame
                    pass

    def _reply(
        self, path: str, body: bytes, headers: Mapping[str, str], within: float, step: Step
    ) -> requests.Response:
        """POST, and replace an expired token once."""
        token = self._token.current()
        try:
            return self._post(path, body, headers, token, within, step)
        except TokenRejected:
            self._token.replace(token)
            return self._post(path, body, headers, self._token.current(), within, step)

    def close(self) -> None:
        self._session.close()

    def _post(
        self, path: str, body: bytes, headers: Mapping[str, str], token: str | None, within: float, step: Step
    ) -> requests.Response:
        upload = _Upload(body, self._traffic, step)
        step.note(**{"http.request.body.size": len(body)})
        self._traffic.add(calls=1, bytes_sent=len(body))
        try:
            reply = self._session.post(
                self.url + path,
                data=upload if body else None,  # an empty upload would be sent in chunks
                headers={**headers, **step.headers},
                auth=Bearer(token),
                allow_redirects=False,
                timeout=(10, within),
                stream=True,
            )
            self._traffic.add(server_seconds=time.perf_counter() - upload.ended)
            if reply.status_code != 200:
                with reply:
                    raise self._failure(reply, step)
        except requests.Timeout as error:
            raise ServerLost(f"no answer from {self.url} within {within:.0f} s") from error
        except requests.RequestException as error:
            raise ServerLost(f"no connection to {self.url}{tls_note(error)}{proxy_note(self.url)}") from error
        return reply

    def _failure(self, reply: requests.Response, step: Step) -> EdenError:
        step.note(**{"http.response.status_code": reply.status_code})
        error = envelope_in(step.heard(reply.content)) or self._from_another(reply)
        asked = retry_after(reply.headers.get("Retry-After"))
        if isinstance(error, ServerTrouble) and asked is not None:
            error.retry_after = asked
        return error

    def _from_another(self, reply: requests.Response) -> EdenError:
        """The error for an answer that is not an EDEN server's: a proxy's, a gateway's, or TorchServe's."""
        code, proxy = reply.status_code, proxy_note(self.url)
        if code not in GATEWAY:
            return ServerFailed(f"{self.url} answered {code} {reply.reason}: is this an EDEN server?{proxy}")
        if proxy:  # it says so of a wrong address, too
            return ServerLost(f"the proxy answered {code} {reply.reason} for {self.url}{proxy}")
        return ServerAway(f"{self.url} answered {code} {reply.reason}: a gateway whose server is away")

    def _chunks(self, reply: requests.Response) -> Iterator[bytes]:
        chunks = reply.raw.stream(BLOCK, decode_content=True)
        while True:
            try:
                with self._traffic.timed("server_seconds"):
                    chunk = next(chunks, None)
            except (HTTPError, OSError) as error:
                raise ServerLost(f"the answer from {self.url} broke off") from error
            if chunk is None:
                return
            self._traffic.add(bytes_received=len(chunk))
            yield chunk


def retry_after(header: str | None) -> float | None:
    """Seconds from now that a Retry-After header asks for, in seconds or as a date; None where it says nothing."""
    if header is None:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, float(header)) if header.strip().isdigit() else _until(header)
    return None


def _until(date: str) -> float:
    """Seconds until an HTTP date, 0 for one that has passed. Raises ValueError where it is none."""
    end = parsedate_to_datetime(date)
    return max(0.0, (end.replace(tzinfo=end.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


class _Upload(io.BytesIO):
    """A request body that measures how long it takes to be sent."""

    def __init__(self, body: bytes, traffic: Traffic, step: Step) -> None:
        super().__init__(body)
        self._traffic, self._started, self._step = traffic, 0.0, step
        self.ended = time.perf_counter()

    def read(self, size: int | None = -1) -> bytes:
        now = time.perf_counter()
        self._started = self._started or now
        block = super().read(size)
        if not block:
            self._traffic.add(send_seconds=now - self._started)
            self.ended = now
            self._step.sent()
        return block


class _WideAdapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, blocksize=BLOCK, **options)
