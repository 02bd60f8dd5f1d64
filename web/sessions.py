"""A browser's session instead of the token: a cookie that scripts cannot read and other sites' requests lack."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import time

from starlette.requests import Request, cookie_parser
from starlette.responses import Response

from web.answers import ApiError, json_body
from web.schemas import Login
from web.settings import Limits

COOKIE = "eden_session"
PATH = "/v1/session"
_LASTS_S = 7 * 24 * 3600
_MOST = 1000
"""Most sessions at once; the oldest are dropped first."""


class Sessions:
    """Sessions of browsers that have sent the token. They survive restarts."""

    def __init__(self, database: sqlite3.Connection, token: str | None, limits: Limits) -> None:
        self._database, self._limits = database, limits
        self._token = None if token is None else token.encode()

    async def begin(self, request: Request) -> Response:
        """POST /v1/session."""
        told = await json_body(request, Login, self._limits.body_bytes)
        response = Response(status_code=204)
        if self._token is None:
            return response
        if not hmac.compare_digest(told.token.strip().encode(), self._token):
            raise ApiError(401, "wrong token")
        cookie, now = secrets.token_urlsafe(32), time.time()
        self._database.execute("INSERT INTO sessions VALUES (?, ?)", (_digest(cookie), now + _LASTS_S))
        self._database.execute(
            "DELETE FROM sessions WHERE ends_at < ? OR digest NOT IN "
            "(SELECT digest FROM sessions ORDER BY ends_at DESC LIMIT ?)",
            (now, _MOST),
        )
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie, _LASTS_S, path="/", secure=secure, httponly=True, samesite="strict")
        return response

    async def end(self, request: Request) -> Response:
        """DELETE /v1/session."""
        self._database.execute("DELETE FROM sessions WHERE digest = ?", (_digest(request.cookies.get(COOKIE, "")),))
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    def allow(self, authorization: str, cookies: str) -> bool:
        """Whether a request with these headers carries the token, or the cookie of a session."""
        if self._token is None:
            return True
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            return True
        told = (_digest(cookie_parser(cookies).get(COOKIE, "")), time.time())
        return bool(self._database.execute("SELECT 1 FROM sessions WHERE digest = ? AND ends_at > ?", told).fetchone())


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
