"""The EDEN server's state in words that tell a person what to do, by its own interfaces if it runs on this machine."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from starlette.requests import Request
from starlette.responses import Response

from eden_client.api.local import local_server
from eden_client.api.sessions import host_and_port, session_for, with_scheme
from server.api import Api
from server.folder import ServerFolder
from server.http import request
from server.settings import COMMAND, IN_CHECKOUT
from server.tokens import Tokens
from server.topology import FUSED, LIVE, NODES
from web.answers import json_answer
from web.eden import Eden
from web.schemas import Model, ServerStatus, State
from web.threads import threaded
from web.videos import Videos

_PATIENCE_S = 5.0
_KEPT_S = 3.0
"""Seconds for which an answer is reused: to describe a model, TorchServe runs nvidia-smi for each of its workers."""
_LATELY_S = 2.0
"""Least seconds over which a rate is measured: TorchServe updates its metrics once per second."""
_DRAWING = "|".join((NODES[1], FUSED, LIVE))
_DRAWN = re.compile(rf'^eden_pairs_total\{{[^}}]*ModelName="(?:{_DRAWING})"[^}}]*\}} (\S+)$', re.MULTILINE)
_START = "make serve" if IN_CHECKOUT else f"{COMMAND} start"
_AWAY = (
    f"No EDEN server answers at {{}}. Start one ({_START}; {COMMAND} doctor says what this host lacks), or name "
    "another: python -m web -- --server URL"
)


@dataclass(frozen=True)
class _Look:
    """The server's state when it was last asked."""

    status: State
    message: str
    models: list[Model] | None = None
    pairs: float | None = None
    """pairs drawn since the server's start"""


class Status:
    """Asks the server for its state on request, at most once every few seconds."""

    def __init__(self, eden: Eden, videos: Videos) -> None:
        self._eden, self._videos = eden, videos
        self._turn = asyncio.Lock()
        self._seen: _Look | None = None
        self._seen_at = -_KEPT_S
        self._counted: tuple[float, float] | None = None
        self._rate: float | None = None

    async def get(self, request: Request) -> Response:
        """GET /v1/server."""
        async with self._turn:
            if self._seen is None or time.monotonic() - self._seen_at > _KEPT_S:
                self._seen = await threaded(look, self._eden.server, self._eden.key_file)
                self._seen_at = time.monotonic()
                self.count(self._seen.pairs, time.monotonic())
            seen = self._seen
        waiting, working = self._videos.counts()
        told = ServerStatus(
            self._eden.server,
            seen.status,
            seen.message,
            seen.models,
            self._rate,
            list(self._eden.trouble),
            waiting,
            working,
        )
        return json_answer(told)

    def count(self, pairs: float | None, now: float) -> float | None:
        """Note how many pairs were drawn since the server's start. Returns the recent pairs per second, once known."""
        if self._counted is not None and pairs is not None and pairs >= self._counted[1]:
            if now - self._counted[0] < _LATELY_S:
                return self._rate
            self._rate = (pairs - self._counted[1]) / (now - self._counted[0])
        else:  # the first look, or a server that began anew
            self._rate = None
        self._counted = None if pairs is None else (now, pairs)
        return self._rate


def look(address: str, key_file: Path | None) -> _Look:
    """The state of the server at this address. key_file: the server's, if it runs on this machine."""
    if not _answers(address):
        return _Look("away", _AWAY.format(address))
    local = local_server(key_file) if key_file else None
    if key_file is None or local is None or not local.is_at(address):
        return _Look("ready", "The server answers. (Its workers are shown only if it runs on this machine.)")
    place = ServerFolder(key_file.parent.resolve())
    try:
        models = _models(Api(with_scheme(address), local.management, Tokens(place.path, local.management)))
        pairs = _pairs(local.metrics)
    except (requests.RequestException, OSError, ValueError, LookupError) as error:
        return _Look("ready", f"The server answers, but does not report its state: {type(error).__name__}")
    status, message = judged(models, place.draining.exists())
    return _Look(status, message, models, pairs)


def judged(models: Sequence[Model], draining: bool) -> tuple[State, str]:
    """The state of a server with these models, and what to do, in words."""
    if draining:
        return "draining", "The server is being drained: new calls are refused (drain --cancel ends that)."
    if not models:
        return "starting", "The server is starting: none of its models is up yet."
    without = [model.name for model in models if not model.workers_ready]
    if without:
        lasting = "one is being started; if this stays, its log and make doctor say why"
        return "starting", f"{' and '.join(without)} has no worker up: {lasting}."
    return "ready", "The server is ready."


def _answers(address: str) -> bool:
    """Whether something answers at an address: HTTP, or for gRPC a listening port."""
    if "://" not in address or address.startswith("grpc"):
        return _listens(address)
    try:
        with session_for(address) as session:
            session.get(f"{address.rstrip('/')}/ping", timeout=_PATIENCE_S, allow_redirects=False, stream=True).close()
    except requests.RequestException:
        return False
    return True


def _listens(address: str) -> bool:
    try:
        socket.create_connection(host_and_port(address), _PATIENCE_S).close()
    except OSError:
        return False
    return True


def _models(api: Api) -> list[Model]:
    """The models that have workers, or should have some."""
    models = []
    for name in (*NODES, FUSED, LIVE):
        if told := api.describe(name):
            ready = sum(worker["status"] == "READY" for worker in told["workers"])
            waiting = told.get("jobQueueStatus", {}).get("pendingRequests", 0)
            models.append(Model(name, len(told["workers"]), ready, waiting))
    return models


def _pairs(metrics: str) -> float:
    reply = request("GET", f"{metrics}/metrics", timeout=_PATIENCE_S)
    reply.raise_for_status()
    return sum(map(float, _DRAWN.findall(reply.text)))
