"""Liveness and readiness of a server for probes and proxies: HTTP without a token, on a port of its own.

    GET /live   200: TorchServe answers; 503: it does not
    GET /ready  200: a call would be served; 503, and one line that says why not

Anyone who reaches the port may ask; nothing is revealed but that line. A connection carries one request, bounded in
time and size; connections beyond the bound are closed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import requests

from server.api import Api
from server.folder import ServerFolder
from server.topology import Topology
from server.watch import last_answers

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds in which TorchServe has to answer."""
KEPT, KEPT_BAD = 5.0, 1.0
"""Seconds for which an answer is reused, a good one and a bad one. (To describe a model, TorchServe runs nvidia-smi
for each of its workers on a host with GPUs.)
"""

LONGEST = 5.0
"""Seconds for a request to arrive, and again for its answer to be received."""
MOST = 64
"""Most connections at once."""
LARGEST = 8 << 10
"""Most bytes of a request."""


class Health:
    """Checks of one server.

    recent  seconds within which each model must have answered a call for the server to be ready; None: not checked
    """

    def __init__(
        self,
        api: Api,
        metrics_url: str,
        topology: Topology,
        place: ServerFolder,
        is_registered: Callable[[], bool],
        recent: float | None,
    ) -> None:
        self._api, self._metrics_url, self._topology = api, metrics_url, topology
        self._place, self._is_registered, self._recent = place, is_registered, recent
        self._lock = threading.Lock()
        self._complaint, self._good_until = "", 0.0

    def live(self) -> str:
        """Empty if TorchServe answers, else what is wrong."""
        try:
            last_answers(self._metrics_url, PATIENCE)
        except requests.RequestException:
            return "TorchServe does not answer"
        return ""

    def ready(self) -> str:
        """Empty if a call would be served, else why not. A drain shows at once, everything else within seconds."""
        if self._place.draining.exists():
            return "draining"
        with self._lock:
            if time.monotonic() > self._good_until:
                self._complaint = self._look()
                self._good_until = time.monotonic() + (KEPT_BAD if self._complaint else KEPT)
            return self._complaint

    def _look(self) -> str:
        if not self._is_registered():
            return "starting"
        try:
            if missing := self._api.without_worker(self._topology.models):
                return f"{missing[0]} has no worker up"
            if self._recent is not None:
                answered, now = last_answers(self._metrics_url, PATIENCE), time.time()
                silent = [model for model in self._topology.models if now - answered.get(model, 0.0) > self._recent]
                return f"{silent[0]} has not answered any call for {self._recent:g} s" if silent else ""
        except (requests.RequestException, OSError, ValueError, LookupError):
            return "TorchServe does not answer"
        return ""


def serve(host: str, port: int, health: Health) -> None:
    """Answer for ever. If the address is taken, log that once and try again."""
    asyncio.run(_serve(host, port, health))


async def _serve(host: str, port: int, health: Health) -> None:
    server, told = None, False
    while server is None:
        try:
            server = await HealthServer(health).listen(host, port)
        except OSError as error:
            if not told:
                logger.error("cannot listen for health checks at %s:%d (health_address): %s", host, port, error)
                told = True
            await asyncio.sleep(1)
    await server.serve_forever()


class HealthServer:
    """The HTTP server. most: connections at once. longest: seconds for a request, and again for its answer."""

    def __init__(self, health: Health, most: int = MOST, longest: float = LONGEST) -> None:
        self._asked = {b"/live": health.live, b"/ready": health.ready}
        self._most, self._longest, self._open = most, longest, 0

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Raises OSError."""
        return await asyncio.start_server(self._connected, host, port, limit=LARGEST)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= self._most:
                async with asyncio.timeout(self._longest):
                    question = await reader.readuntil(b"\r\n\r\n")
                answer = await self._answer(question)
                async with asyncio.timeout(self._longest):
                    writer.write(answer)
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asks so is owed nothing
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _answer(self, question: bytes) -> bytes:
        method, _, rest = question.partition(b" ")
        ask = self._asked.get(rest.partition(b" ")[0])
        if method not in (b"GET", b"HEAD"):
            status, text = "405 Method Not Allowed", "GET or HEAD"
        elif ask is None:
            status, text = "404 Not Found", "/live or /ready"
        else:
            complaint = await asyncio.to_thread(ask)
            status, text = ("503 Service Unavailable", complaint) if complaint else ("200 OK", "yes")
        body = b"" if method == b"HEAD" else f"{text}\n".encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(text) + 1}\r\n\r\n".encode() + body
