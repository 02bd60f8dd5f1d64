"""`http`: the consumer pulls a payload with GET from a small server in the producer's process. Several hosts."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Iterator, Sequence

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from handoff.deadlines import Deadlines
from handoff.desk import LARGEST_REQUEST, Desk, Parcel, error_name, proof, raise_error
from handoff.errors import HandoffError, PeerLost
from handoff.lines import IDLE_S, Address, Listener, listen
from handoff.network import NetworkLink
from handoff.pulled import Server
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket
from handoff.tls import client_tls

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
            line.request("GET", f"/payloads/{ticket.id}", headers={"Authorization": f"Bearer {token}"})
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

        async def pull(request: Request) -> Response:
            return Answer(desk, request, settings.chunk_bytes or Http.chunk, self._unproven)

        config = uvicorn.Config(
            Starlette(routes=[Route("/payloads/{payload}", pull)]),
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


class Answer(Response):
    """A payload sent from where it lies; `StreamingResponse` would want a copy of every piece."""

    def __init__(self, desk: Desk, request: Request, largest: int, unproven: Deadlines) -> None:
        super().__init__()
        self._desk = desk
        self._payload = request.path_params["payload"]
        self._shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        self._largest = largest
        self._unproven = unproven

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._desk.check(self._payload, self._shown)
            self._unproven.end(tuple(scope["client"]))
            with self._desk.parcel(self._payload, self._shown) as parcel:
                await self._send(parcel, send)
        except HandoffError as error:
            self._desk.refused(error)
            name = error_name(error)
            refusal = JSONResponse(str(error), status_code=_STATUS.get(name, 500), headers={"X-Error": name})
            await refusal(scope, receive, send)

    async def _send(self, parcel: Parcel, send: Send) -> None:
        headers = [(b"content-length", str(len(parcel.body)).encode()), (b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in parcel.pieces(self._largest):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
