"""`http`: the consumer pulls a payload with GET from a small server in the producer's process. Several hosts."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Iterator, Sequence

import torch
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from handoff.deadlines import Deadlines
from handoff.desk import LARGEST_REQUEST, Desk, Parcel, error_name, proof, raise_error
from handoff.errors import HandoffError, PeerLost, TicketRejected
from handoff.lines import IDLE_S, Address, Listener, listen
from handoff.network import NetworkLink
from handoff.pulled import Server
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket
from handoff.tls import client_tls

_PATH = "/payloads/"
_STATUS = {"TicketRejected": 403, "PayloadGone": 410, "OverCapacity": 503}


class Http(NetworkLink[http.client.HTTPConnection]):
    """GET /payloads/ID with the proof as a bearer token; connections are kept alive."""

    kind = "http"
    chunk = 1 << 20

    def _serve(self, desk: Desk, device: torch.device) -> Server:
        return HttpServer(self.post.settings, desk)

    def _protected(self) -> bool:
        return self.post.settings.tls_certificate is not None

    def _dial(self, address: Address) -> http.client.HTTPConnection:
        tls, timeout = client_tls(self.post.settings), self.post.settings.timeout_s
        if tls:
            return http.client.HTTPSConnection(*address, timeout=timeout, context=tls)
        return http.client.HTTPConnection(*address, timeout=timeout)

    def _hang_up(self, line: http.client.HTTPConnection) -> None:
        line.close()

    def _receive(self, line: http.client.HTTPConnection, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        try:
            token = proof(self.post.key, ticket.id)
            line.request("GET", _PATH + ticket.id, headers={"Authorization": f"Bearer {token}"})
            response = line.getresponse()
            if response.status != 200:
                raise_error(response.headers.get("X-Error", ""), response.read(1000).decode(errors="replace"))
            for view in views:
                _fill(response, view)
                yield
            response.read()  # the end of the answer: the connection is free for the next
        except http.client.HTTPException as error:
            raise PeerLost(f"the producer broke off: {error!r}") from error


def _fill(response: http.client.HTTPResponse, view: memoryview) -> None:
    while view:
        count = response.readinto(view)
        if not count:
            raise PeerLost("the producer broke off in the middle of a payload")
        view = view[count:]


class HttpServer:
    """uvicorn in a thread."""

    def __init__(self, settings: HandoffSettings, desk: Desk) -> None:
        self._listener = Listener(fileno=listen(settings).detach())
        self.port: int = self._listener.getsockname()[1]
        self._unproven = Deadlines(settings.timeout_s, Listener.most)
        self._listener.deadlines = self._unproven

        config = uvicorn.Config(
            Payloads(desk, settings.chunk_bytes or Http.chunk, self._unproven),
            log_config=None,
            log_level=logging.ERROR,  # its warnings are of strangers, a line for each request
            access_log=False,
            lifespan="off",
            ws="none",
            loop="asyncio",
            http="h11",
            h11_max_incomplete_event_size=2 * LARGEST_REQUEST,
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=1,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
        self._server = uvicorn.Server(config)
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="handoff-http", daemon=True)
        try:
            config.load()  # a bad certificate is told here, not in the thread
            self._thread.start()
            while not self._server.started:
                if not self._thread.is_alive():
                    raise HandoffError(f"the server ended as it started: {self._problem!r}")
                time.sleep(0.001)
        except BaseException:
            self._unproven.close()
            self._listener.close()
            raise

    def close(self) -> None:
        self._server.should_exit = True
        self._unproven.close()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        try:
            self._server.run([self._listener])
        except BaseException as error:  # told by whoever waits for it
            self._problem = error


class Payloads:
    """An ASGI application: whatever is asked for without its proof is refused alike, and the connection ended.

    Payloads are sent from where they lie; starlette's `StreamingResponse` would want a copy of every piece.
    """

    def __init__(self, desk: Desk, largest: int, unproven: Deadlines) -> None:
        self._desk = desk
        self._largest = largest
        self._unproven = unproven

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        payload = scope["path"].removeprefix(_PATH)
        shown = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
        try:
            self._desk.check(payload, shown)
            self._unproven.end(tuple(scope["client"]))
            with self._desk.parcel(payload, shown) as parcel:
                await self._send(parcel, send)
        except HandoffError as error:
            self._desk.refused(error)
            name = error_name(error)
            headers = {"X-Error": name, **({"Connection": "close"} if isinstance(error, TicketRejected) else {})}
            refusal = JSONResponse(str(error), status_code=_STATUS.get(name, 500), headers=headers)
            await refusal(scope, receive, send)

    async def _send(self, parcel: Parcel, send: Send) -> None:
        headers = [(b"content-length", str(len(parcel.body)).encode()), (b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in parcel.pieces(self._largest):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
