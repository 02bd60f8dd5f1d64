"""The route that a server offers, found out by asking it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

from eden_client.api.errors import EdenError, NotOffered, ServerFailed
from eden_client.api.http_connection import HttpConnection
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame

ANSWERED = ("BadRequest", "OverCapacity")
"""What a handler of ours says to an empty request: that it is empty, or that too many wait before it."""


class AutoRoute:
    """The first of several routes through one server that it offers; asked for again once the server says it does not.

    candidates  by the path that each calls, the best first; they share `server`'s connections
    """

    def __init__(self, server: HttpConnection, candidates: Mapping[str, Route]) -> None:
        self._server, self._candidates = server, candidates
        self._lock = threading.Lock()
        self._choice: Future[Route] | None = None

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        choice = self._choose(within)
        try:
            yield from choice.result().between(frames, within, yuv, step)
        except NotOffered:
            self._forget(choice)
            raise

    def close(self) -> None:
        self._server.close()

    def _choose(self, within: float) -> Future[Route]:
        """Of the threads that come at once one asks, and all get what it learns."""
        with self._lock:
            if self._choice is not None:
                return self._choice
            choice = self._choice = Future()
        try:
            choice.set_result(self._ask(within))
        except BaseException as error:
            self._forget(choice)
            choice.set_exception(error)
        return choice

    def _forget(self, choice: Future[Route]) -> None:
        with self._lock:
            if self._choice is choice:
                self._choice = None

    def _ask(self, within: float) -> Route:
        for path, route in self._candidates.items():
            if is_offered(self._server, path, within):
                return route
        raise NotOffered(f"{self._server.url} offers none of {', '.join(self._candidates)}: is it still starting?", 404)


def is_offered(server: HttpConnection, path: str, within: float) -> bool:
    """Whether a server knows the model or workflow at `path`, whose handler then refuses an empty request.

    Raises EdenError where that is not to be known: no server, a wrong token, one that is not ours.
    """
    try:
        server.call(path, b"", {"Content-Type": "application/octet-stream"}, within)
    except NotOffered:
        return False
    except EdenError as error:
        if error.kind in ANSWERED:
            return True
        raise
    raise ServerFailed(f"{server.url}{path} takes an empty request: is this an EDEN server?")
