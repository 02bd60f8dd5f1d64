"""Good calls: pairs, clips and streams by every route and transport, each answer compared with a reference."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.soak.record import Record
from eden_client import EdenClient, EdenError, ServerTrouble
from eden_client.api.http_connection import HttpConnection
from eden_client.api.local import token_for
from eden_client.api.open_route import RouteName
from eden_client.api.routes import FUSED_PATH, WORKFLOW_PATH
from eden_client.api.traffic import Traffic
from eden_client.api.transport import Transport
from loadtest._answers import Reference, WrongAnswer, decode
from loadtest._film import Film, Scene
from media.terms import Priority
from server import Server

SIZE = 64, 96
"""Height and width of the frames, in pixels."""
SCENES, LENGTH = 6, 5
"""Number of clips, and frames per clip."""
WITHIN_S = 60.0
"""Seconds for which callers without EdenClient wait for an answer."""
PATIENCE_S = 180.0
"""Seconds after which a call that is still refused counts as never answered."""

Shape = Literal["pair", "clip", "stream"]
CALLERS: tuple[tuple[RouteName, Transport, Shape, Priority | None], ...] = (
    ("workflow", "npy", "pair", "interactive"),
    ("workflow", "png", "clip", "batch"),
    ("workflow", "region", "stream", None),
    ("chain", "npy", "stream", "batch"),
    ("chain", "png", "pair", "live"),
    ("chain", "region", "clip", "interactive"),
    ("fused", "npy", "clip", "batch"),
    ("fused", "png", "stream", "interactive"),
    ("fused", "region", "pair", "live"),
    ("auto", "auto", "stream", "live"),
    ("grpc", "npy", "pair", "batch"),
)
"""Clients that live as long as the run: (route, transport, what they ask for, priority)."""


@dataclass(frozen=True)
class Clip:
    """K frames, uint8 [K, H, W, 3], and the K-1 between them, as the server drew them while it was otherwise idle."""

    frames: np.ndarray
    between: np.ndarray


def difference(got: np.ndarray, wanted: np.ndarray) -> str | None:
    """How frames that were sent without loss differ from those that were wanted; None: by rounding alone.

    The order in which numbers are added depends on the shape of the batch. That changes a few of a hundred thousand
    values by one grey level; another request's frame differs in thousands.
    """
    if got.shape != wanted.shape:
        return f"frames of {got.shape} in place of {wanted.shape}"
    apart = np.abs(got.astype(np.int16) - wanted)
    moved = np.count_nonzero(apart)
    if apart.max(initial=0) > 1 or moved > 4 + apart.size // 2000:
        return f"{moved} of {apart.size} values differ, by up to {apart.max()}"
    return None


def draw_clips() -> list[np.ndarray]:
    """Frames to send, [LENGTH, H, W, 3] for each scene."""
    scenes = (Scene(number, *SIZE) for number in range(SCENES))
    return [np.stack([scene.frame(index) for index in range(LENGTH)]) for scene in scenes]


class Calls:
    """Makes good calls to one server, one kind after another. Any thread may use it."""

    def __init__(self, server: Server, region_folder: Path, record: Record, seed: int) -> None:
        """Raises WrongAnswer: the workflow draws other frames than the fused model."""
        self._record, self._region_folder, self._server = record, region_folder, server
        self._random, self._stack = random.Random(seed), ExitStack()
        frames = draw_clips()
        with self._client("fused", "npy", None) as fused, self._client("workflow", "npy", None) as workflow:
            self.clips = [Clip(clip, fused.interpolate_clip(list(clip))) for clip in frames]
            for clip in self.clips:
                if wrong := difference(workflow.interpolate_clip(list(clip.frames)), clip.between):
                    raise WrongAnswer(f"the workflow's frames are not the fused model's: {wrong}")
        kinds: list[Callable[[Clip], None]] = [self._by_client(*caller) for caller in CALLERS]
        kinds += [self._by_jpeg(route, path) for route, path in (("workflow", WORKFLOW_PATH), ("fused", FUSED_PATH))]
        self._kinds = itertools.cycle(kinds)

    def make(self) -> Callable[[], None]:
        """The next call: a function that makes it and records what came of it."""
        kind, clip = next(self._kinds), self._random.choice(self.clips)
        return lambda: kind(clip)

    def close(self) -> None:
        self._stack.close()

    def _client(self, route: RouteName, transport: Transport, priority: Priority | None, **more: Any) -> EdenClient:
        address = f"127.0.0.1:{self._server.grpc_port}" if route == "grpc" else self._server.url
        return EdenClient(
            address,
            key_file=self._server.tokens.path,
            management=self._server.management_url,
            route=route,
            transport=transport,
            region_folder=self._region_folder,
            priority=priority,
            patience=PATIENCE_S,
            **more,
        )

    def _by_client(
        self, route: RouteName, transport: Transport, shape: Shape, priority: Priority | None
    ) -> Callable[[Clip], None]:
        what, record = f"{route}, {transport}, {shape}", self._record
        under_way: dict[object, float] = {}

        def troubled(error: ServerTrouble) -> None:
            record.add_trouble(what, min(under_way.values(), default=record.now()), error)

        client = self._stack.enter_context(self._client(route, transport, priority, on_trouble=troubled))

        def call(clip: Clip) -> None:
            token = object()
            since = under_way[token] = record.now()
            try:
                got, wanted = asked(client, shape, clip)
                self._judge(what, since, difference(got, wanted))
            except EdenError as error:
                record.add_fault(what, f"never answered: {error}")
            finally:
                del under_way[token]

        return call

    def _by_jpeg(self, route: str, path: str) -> Callable[[Clip], None]:
        """A caller without EdenClient: it sends the first pair of a scene as JPEGs, and gets a JPEG."""
        what, record = f"{route}, jpeg, pair", self._record
        token = token_for(self._server.url, None, self._server.tokens.path, self._server.management_url)
        connection = HttpConnection(self._server.url, token, Traffic(), connections=8)
        self._stack.callback(connection.close)
        pair = next(Film.draw(Scene(0, *SIZE), 2, "jpeg").clips(2, 1))

        def drawn(seed: int) -> Sequence[np.ndarray]:
            headers = {"Content-Type": pair.content_type, "X-Eden-Format": "jpeg", "X-Eden-Seed": str(seed)}
            return decode(connection.call(path, pair.body, headers, WITHIN_S), "jpeg")

        reference = Reference(0, drawn(0), drawn(1))

        def call(clip: Clip) -> None:
            since = record.now()
            while True:
                try:
                    reference.compare(drawn(0))
                    self._judge(what, since, None)
                    return
                except WrongAnswer as error:
                    self._judge(what, since, str(error))
                    return
                except ServerTrouble as error:
                    record.add_trouble(what, since, error)
                    if record.now() - since > PATIENCE_S:
                        record.add_fault(what, f"never answered: {error}")
                        return
                    time.sleep(max(0.5, error.retry_after or 0.0))
                except EdenError as error:
                    record.add_fault(what, f"refused for good: {error}")
                    return

        return call

    def _judge(self, what: str, since: float, wrong: str | None) -> None:
        if wrong:
            self._record.add_fault(what, f"a wrong answer: {wrong}")
        else:
            self._record.add_good(what, since)


def asked(client: EdenClient, shape: Shape, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Have the frames between drawn, of a clip or of its first pair. Returns those, and those that are right."""
    if shape == "pair":
        return client.interpolate_pair(clip.frames[0], clip.frames[1]), clip.between[0]
    if shape == "clip":
        return client.interpolate_clip(list(clip.frames)), clip.between
    return np.stack(list(client.stream(clip.frames))), clip.between
