"""What all users of a Locust process share: the film that they send, the references, the token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import gevent
import numpy as np
from gevent.lock import RLock
from locust.env import Environment

from eden_client.api.local import local_key_file, token_for
from eden_client.api.sessions import Bearer, session_for
from eden_client.api.tokens import Token
from loadtest._answers import Reference, check, decode
from loadtest._film import Clip, Film, Scene
from loadtest._options import PROJECT, Asked, parsed

CLIPS = 24
"""Requests that are prepared per length of clip. Each is sent again and again, with new seeds."""

DEFAULT_HOST = "http://127.0.0.1:8080"

TOKEN_SECONDS = 5.0
"""Seconds after which a token is read from its file again."""


class Shared:
    """Shared by the users of all scenarios in a process."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._lock = RLock()
        self._films: dict[Asked, Film] = {}
        self._clips: dict[tuple[Asked, int], Sequence[Clip]] = {}
        self._references: dict[tuple[Asked, int, str], Reference] = {}
        self._token: tuple[float, dict[str, str]] = (0.0, {})
        self.token = self.token_at(self.host)

    @property
    def host(self) -> str:
        """The server's inference address."""
        return (self._environment.host or DEFAULT_HOST).rstrip("/")

    def token_at(self, server: str) -> Token:
        """The token for an address of the server: from the options, else from its key file if it was started here."""
        options = parsed(self._environment)
        file = Path(options.key_file) if options.key_file else local_key_file(server, PROJECT)
        return token_for(server, options.token or None, file, options.management or None)

    def headers(self) -> dict[str, str]:
        """The Authorization header; empty: the server needs none."""
        read, headers = self._token
        if time.monotonic() - read > TOKEN_SECONDS:
            token = self.token.current()
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            self._token = time.monotonic(), headers
        return headers

    def clips(self, asked: Asked, length: int) -> Sequence[Clip]:
        """Requests of `length` frames, which are prepared by the first call."""
        with self._lock:
            if (asked, length) not in self._clips:
                film = self._film(asked)
                self._clips[asked, length] = list(film.clips(length, CLIPS))
            return self._clips[asked, length]

    def _film(self, asked: Asked) -> Film:
        if asked not in self._films:
            number = max(0, getattr(self._environment.runner, "worker_index", 0) or 0)
            scene = Scene(number, *asked.size)
            # other greenlets run between frames: a worker that is silent for seconds counts as lost
            self._films[asked] = Film.draw(scene, asked.film_frames, asked.send, breathe=lambda: gevent.sleep(0))
        return self._films[asked]

    def reference(self, asked: Asked, length: int) -> Reference:
        """The reference of the first clip, asked for once by the same route, and not counted in the statistics.

        Raises EdenError or WrongAnswer: the server does not answer as it should.
        """
        with self._lock:
            key = asked, length, asked.answer
            if key not in self._references:
                clip = self.clips(asked, length)[0]
                seeds = [self._interpolate(asked, clip, seed) for seed in (1, 2)]
                self._references[key] = Reference(1, *seeds)
            return self._references[key]

    def _interpolate(self, asked: Asked, clip: Clip, seed: int) -> list[np.ndarray]:
        headers = {
            "Content-Type": clip.content_type,
            "X-Eden-Seed": str(seed),
            "X-Eden-Format": asked.answer,
        }
        url, auth = self.host + asked.path, Bearer(self.token.current())
        with session_for(url) as session:
            reply = session.post(url, data=clip.body, headers=headers, auth=auth, timeout=600, allow_redirects=False)
        check(reply.content, asked.answer, clip.count - 1, clip.size)
        return decode(reply.content, asked.answer)
