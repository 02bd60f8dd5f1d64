"""Checks that every request must pass before anything is done for it, and headers that every answer carries."""

from __future__ import annotations

import asyncio
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.answers import ApiError
from web.page import PATHS
from web.sessions import PATH, Sessions
from web.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = PATHS | {PATH}
"""Paths that need no token: the page, which asks for it, and the one that receives it."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
WEBSOCKET = "WEBSOCKET"
"""Stands for a WebSocket's method; not a safe one, since browsers open WebSockets to any site."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Passes on requests with a known Host, from no other site and with the token; bounds their time."""

    def __init__(self, app: ASGIApp, settings: Settings, sessions: Sessions) -> None:
        self._app, self._limits, self._sessions = app, settings.limits, sessions
        self._hosts = {*LOOPBACK, settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            async with asyncio.timeout(self._limits.send_s):
                await send(message)

        try:
            self._check(scope.get("method", WEBSOCKET), Headers(scope=scope), scope["path"] in OPEN)
        except ApiError as refused:
            await refused.answer()(scope, receive, sending)
            return
        await self._app(scope, self._patient(receive) if scope["type"] == "http" else receive, sending)

    def _check(self, method: str, headers: Headers, open_to_all: bool) -> None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or _name(host) not in self._hosts:
            raise ApiError(421, "unknown host name: allow it with --allow-host")
        site = headers.get("sec-fetch-site")
        if site == "cross-site" or (method not in SAFE_METHODS and site not in (None, "same-origin", "none")):
            raise ApiError(403, "requests from another site are refused")
        origin = headers.get("origin")
        if method not in SAFE_METHODS and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ApiError(403, "requests from another origin are refused")
        if not open_to_all and not self._sessions.allow(headers.get("authorization", ""), headers.get("cookie", "")):
            raise ApiError(401, "a token is needed: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})

    def _patient(self, receive: Receive) -> Receive:
        """`receive` with a time limit for each part of a body."""
        complete = False

        async def receiving() -> Message:
            nonlocal complete
            if complete:  # what comes now is the end of the connection, whenever that is
                return await receive()
            try:
                async with asyncio.timeout(self._limits.receive_s):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "the next part of the body arrived too late", {"Connection": "close"}) from None
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        return receiving


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
