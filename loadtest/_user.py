"""What every scenario's user does: send a pair or a clip by --route, check the answer, note what it took."""

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
"""Seconds: the server's own limit for a node."""

BROKEN = (EdenError, WrongAnswer, *FAILURE_EXCEPTIONS)
"""What can be wrong with a request: an error's envelope, a wrong answer, none, or one that breaks off."""

_numbers = itertools.count()


class EdenUser(User):
    """Requests to choose from, their seeds, and the checking of answers; how they are sent is the subclass's."""

    abstract = True
    routes: Collection[str] = tuple(ROUTES)
    """Values of --route with which this scenario is run."""

    def on_start(self) -> None:
        """Prepare what is sent, and what some answers are compared with."""
        self.options = self.environment.parsed_options
        self.asked = Asked.of(self.options)
        self.shared: Shared = self.environment.eden
        self.number = next(_numbers)
        self._sent: dict[int, int] = {}
        self._references = {length: self._reference(length) for length in self.lengths()}

    def lengths(self) -> tuple[int, ...]:
        """The lengths of clip that this user sends."""
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
        """A clip of `length` frames, its seed, and a check of the answer's pixels (for most answers: none)."""
        clips = self.shared.clips(self.asked, length)
        sent = self._sent[length] = self._sent.get(length, -1) + 1
        reference = self._references[length]
        if reference and sent % self.options.check_every == 0:
            return clips[0], reference.seed, lambda answer: reference.compare(self._frames(answer))
        # each user begins elsewhere in the film, and a clip that comes round again has another seed
        turn = self.number * 7 + sent
        return clips[turn % len(clips)], 1000 + turn // len(clips), lambda answer: None

    def _frames(self, answer: bytes | list[np.ndarray]) -> list[np.ndarray]:
        return decode(answer, self.asked.answer) if isinstance(answer, bytes) else answer

    def note(self, kind: str, seconds: float = 0.0, times: int = 1) -> None:
        """Add to the statistics' rows of this scenario."""
        events.note(self.environment, kind, self.scenario, seconds, times)

    @property
    def scenario(self) -> str:
        """The scenario's name in the statistics."""
        return type(self).__name__

    def pause_after(self, failure: Exception, seconds: float) -> None:
        """A user whose request failed after `seconds` waits a little, as a decent client does; a refusal is counted."""
        if isinstance(failure, EdenError) and failure.code == 503:  # by our handler, or by TorchServe's own full queue
            self.note(events.REFUSED, seconds)
        gevent.sleep(self.options.failure_pause)


class EdenHttpUser(EdenUser, FastHttpUser):
    """The same over HTTP."""

    abstract = True
    host = DEFAULT_HOST
    network_timeout = TIMEOUT
    connection_timeout = 10.0

    def __init__(self, environment: Environment) -> None:
        # answers are large: the library's blocks of 4 KB would make the client what is measured
        self.client_pool = HTTPClientPool(
            block_size=1 << 18, network_timeout=TIMEOUT, connection_timeout=10.0, concurrency=2
        )
        super().__init__(environment)

    def on_stop(self) -> None:
        """Let go of the connection."""
        assert self.client_pool is not None
        self.client_pool.close()

    def interpolate(self, length: int) -> float | None:
        """Send `length` frames by --route; the seconds that it took, None if it failed."""
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
        """One clip of a film; all its frames come at once."""
        seconds = self.interpolate(self.asked.clip)
        if seconds is not None:
            self.note(events.FIRST, seconds)

    def send_pair(self, camera: Camera) -> None:
        """A camera's next pair, when it is due."""
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
    """A request fails, in the statistics, if what is done with its reply here raises one of BROKEN; that goes on."""
    try:
        yield
        reply.success()
    except BROKEN as error:
        reply.failure(f"{type(error).__name__}: {error}")
        raise


def answer_of(reply: Any) -> bytes:
    """The whole body of a reply. Raises EdenError for an error's envelope, WrongAnswer for any other failure."""
    if not reply.status_code:
        raise WrongAnswer(f"no answer: {getattr(reply, 'error', '')}")
    body = bytes(reply.content or b"")
    if error := envelope_in(body):
        raise error
    if reply.status_code != 200:
        raise WrongAnswer(f"status {reply.status_code}: {body[:200]!r}")
    if error := reply.request_meta["exception"]:  # while the body was read: Locust keeps what came of it
        raise WrongAnswer(f"the answer broke off: {error}")
    return body
