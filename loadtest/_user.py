"""The base of every scenario's user: sends a pair or a clip by --route, checks the answer, counts the time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import numpy as np
import requests
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, User
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment

from eden_client.api.errors import EdenError, envelope_in
from loadtest import _events as events
from loadtest._answers import Reference, WrongAnswer, check, decode
from loadtest._camera import Camera
from loadtest._film import Clip
from loadtest._options import ROUTES, Asked
from loadtest._process import DEFAULT_HOST, Shared

TIMEOUT = 600.0
"""Seconds for a request: the server's own limit per node."""

BROKEN = (EdenError, WrongAnswer, *FAILURE_EXCEPTIONS)
"""Errors of a request: an error's envelope, a wrong answer, no answer, or one that is cut short."""

_numbers = itertools.count()


class EdenUser(User):
    """Chooses requests and seeds, and checks answers. A subclass sends them."""

    abstract = True
    routes: Collection[str] = tuple(ROUTES)
    """The values of --route with which this scenario runs."""

    def on_start(self) -> None:
        """Prepare the requests, and the references of the answers that are compared."""
        self.options = self.environment.parsed_options
        self.asked = Asked.of(self.options)
        self.shared: Shared = self.environment.eden
        self.number = next(_numbers)
        self._sent: dict[int, int] = {}
        self._references = {length: self._reference(length) for length in self.lengths()}

    def lengths(self) -> tuple[int, ...]:
        """The numbers of frames per request of this user."""
        return (self.asked.clip,)

    def _reference(self, length: int) -> Reference | None:
        self.shared.clips(self.asked, length)
        if not self.options.check_every:
            return None
        started = time.perf_counter()
        try:
            return self.shared.reference(self.asked, length)
        except (EdenError, WrongAnswer, requests.RequestException) as error:
            events.failed(self.environment, "REFERENCE", f"K={length}", time.perf_counter() - started, error)
            return None

    def next_request(self, length: int) -> tuple[Clip, int, Callable[[bytes | list[np.ndarray]], None]]:
        """A clip of `length` frames, its seed, and a function that checks the answer's pixels.

        That function does nothing, except for one request in --check-every.
        """
        clips = self.shared.clips(self.asked, length)
        sent = self._sent[length] = self._sent.get(length, -1) + 1
        reference = self._references[length]
        if reference and sent % self.options.check_every == 0:
            return clips[0], reference.seed, lambda answer: reference.compare(self._frames(answer))
        # each user begins at another clip of the film, and sends a clip with another seed each time
        turn = self.number * 7 + sent
        return clips[turn % len(clips)], 1000 + turn // len(clips), lambda answer: None

    def _frames(self, answer: bytes | list[np.ndarray]) -> list[np.ndarray]:
        return decode(answer, self.asked.answer) if isinstance(answer, bytes) else answer

    def note(self, kind: str, seconds: float = 0.0, times: int = 1) -> None:
        """Count `times` events of a kind for this scenario."""
        events.note(self.environment, kind, self.scenario, seconds, times)

    @property
    def scenario(self) -> str:
        """The scenario's name in the statistics."""
        return type(self).__name__

    def pause_after(self, failure: Exception, seconds: float) -> None:
        """Wait for --failure-pause after a request that failed within `seconds`, and count it if it was a refusal."""
        if isinstance(failure, EdenError) and failure.code == 503:  # from the handler, or TorchServe's own full queue
            self.note(events.REFUSED, seconds)
        gevent.sleep(self.options.failure_pause)


class EdenHttpUser(EdenUser, FastHttpUser):
    """An `EdenUser` that sends requests over HTTP."""

    abstract = True
    host = DEFAULT_HOST
    network_timeout = TIMEOUT
    connection_timeout = 10.0

    def __init__(self, environment: Environment) -> None:
        # answers are large: reading them in the library's blocks of 4 KB would make the client the bottleneck
        self.client_pool = HTTPClientPool(
            block_size=1 << 18, network_timeout=TIMEOUT, connection_timeout=10.0, concurrency=2
        )
        super().__init__(environment)

    def on_stop(self) -> None:
        """Close the connection."""
        assert self.client_pool is not None
        self.client_pool.close()

    def interpolate(self, length: int) -> float | None:
        """Send `length` frames by --route. Returns the seconds that it took; None: it failed."""
        clip, seed, compare = self.next_request(length)
        headers = self.shared.headers() | {
            "Content-Type": clip.content_type,
            "X-Eden-Seed": str(seed),
            "X-Eden-Format": self.asked.answer,
        }
        started = time.perf_counter()
        name = f"{self.asked.path} K={length}"
        call = self.client.post(
            self.asked.path,
            data=clip.body,  # type: ignore[arg-type]  # it takes bytes, too
            headers=headers,
            name=name,
            catch_response=True,
            allow_redirects=False,
        )
        seconds = time.perf_counter() - started
        try:
            with call as reply, judged(reply):
                body = answer_of(reply)
                check(body, self.asked.answer, length - 1, clip.size)
                compare(body)
        except BROKEN as error:
            self.pause_after(error, seconds)
            return None
        self.note(events.FRAME, seconds, length - 1)
        return seconds

    def send_clip(self) -> None:
        """Send a clip whose frames come back all at once, and count them."""
        seconds = self.interpolate(self.asked.clip)
        if seconds is not None:
            self.note(events.FIRST, seconds)

    def send_pair(self, camera: Camera) -> None:
        """Wait until a camera's next pair is due, send it, and count what came of it."""
        due, skipped = camera.next_pair()
        self.note(events.SKIPPED, times=skipped)
        gevent.sleep(max(0.0, due - time.perf_counter()))
        if self.interpolate(2) is None:
            return
        taken = time.perf_counter() - due
        deadline = self.options.deadline or camera.period
        if deadline and taken > deadline:
            self.note(events.LATE, taken - deadline)
        first, jitter = camera.answered()
        if first is not None:
            self.note(events.FIRST, first)
        if jitter is not None:
            self.note(events.JITTER, jitter)


@contextmanager
def judged(reply: Any) -> Iterator[None]:
    """A context. If one of `BROKEN` is raised in it, the request counts as failed, and the error is raised again."""
    try:
        yield
        reply.success()
    except BROKEN as error:
        reply.failure(f"{type(error).__name__}: {error}")
        raise


def answer_of(reply: Any) -> bytes:
    """The whole body of a reply. Raises EdenError: it is an error's envelope; WrongAnswer: any other failure."""
    if not reply.status_code:
        raise WrongAnswer(f"no answer: {getattr(reply, 'error', '')}")
    body = bytes(reply.content or b"")
    if error := envelope_in(body):
        raise error
    if reply.status_code != 200:
        raise WrongAnswer(f"status {reply.status_code}: {body[:200]!r}")
    if error := reply.request_meta["exception"]:  # raised while the body was read; Locust keeps the part that came
        raise WrongAnswer(f"the answer was cut short: {error}")
    return body
