"""The best route that a server offers, found by asking it."""

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
"""Error types with which an EDEN handler refuses an empty request."""


class AutoRoute:
    """The first of several routes that a server offers. It is asked again once the server says that it lacks the route.

    candidates  routes by the URL path that each calls, the best first; they share `server`'s connections
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
        """The chosen route. Of several threads at once, one asks the server and all get its result."""
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
    """Whether a server has the model or workflow at `path`: its handler then refuses an empty request.

    within: seconds. Raises EdenError if that cannot be found out: no answer, a wrong token, not an EDEN server.
    """
    try:
        server.call(path, b"", {"Content-Type": "application/octet-stream"}, within)
    except NotOffered:
        return False
    except EdenError as error:
        if error.kind in ANSWERED:
            return True
        raise
    raise ServerFailed(f"{server.url}{path} accepts an empty request: is this an EDEN server?")
