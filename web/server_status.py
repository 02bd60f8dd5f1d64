"""How the EDEN server does, in words that a person can act on: by what its own interfaces say, where it runs here."""

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
"""Seconds for which an answer is good: to describe a model, TorchServe runs nvidia-smi for each of its workers."""
_LATELY_S = 2.0
"""Seconds that a rate is taken over, at least: TorchServe tells its metrics once a second."""
_DRAWING = "|".join((NODES[1], FUSED, LIVE))
_DRAWN = re.compile(rf'^eden_pairs_total\{{[^}}]*ModelName="(?:{_DRAWING})"[^}}]*\}} (\S+)$', re.MULTILINE)
_START = "make serve" if IN_CHECKOUT else f"{COMMAND} start"
_AWAY = (
    f"No EDEN server answers at {{}}. Start one ({_START}; {COMMAND} doctor says what this host lacks), or name "
    "another: python -m web -- --server URL"
)


@dataclass(frozen=True)
class _Look:
    """What was seen of the server."""

    status: State
    message: str
    models: list[Model] | None = None
    pairs: float | None = None
    """drawn since it began"""


class Status:
    """Looks at the server when somebody asks, and not more often than every few seconds."""

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
        """So many pairs were drawn since the server began; returns how many per second lately, once that is known."""
        if self._counted is not None and pairs is not None and pairs >= self._counted[1]:
            if now - self._counted[0] < _LATELY_S:
                return self._rate
            self._rate = (pairs - self._counted[1]) / (now - self._counted[0])
        else:  # the first look, or a server that began anew
            self._rate = None
        self._counted = None if pairs is None else (now, pairs)
        return self._rate


def look(address: str, key_file: Path | None) -> _Look:
    """How the server at this address does; the key file is its, where it runs on this machine."""
    if not _answers(address):
        return _Look("away", _AWAY.format(address))
    local = local_server(key_file) if key_file else None
    if key_file is None or local is None or not local.is_at(address):
        return _Look("ready", "It answers. Its workers are known where it runs on the same machine as this service.")
    place = ServerFolder(key_file.parent.resolve())
    try:
        models = _models(Api(with_scheme(address), local.management, Tokens(place.path, local.management)))
        pairs = _pairs(local.metrics)
    except (requests.RequestException, OSError, ValueError, LookupError) as error:
        return _Look("ready", f"It answers, but does not say what it does: {type(error).__name__}")
    status, message = judged(models, place.draining.exists())
    return _Look(status, message, models, pairs)


def judged(models: Sequence[Model], draining: bool) -> tuple[State, str]:
    """What a server with these models is up to, and what to do."""
    if draining:
        return "draining", "It is being drained: new calls are refused (drain --cancel: it serves on)."
    if not models:
        return "starting", "It is starting: none of its models is up yet."
    without = [model.name for model in models if not model.workers_ready]
    if without:
        lasting = "it starts one; if that goes on, its log and make doctor say why"
        return "starting", f"No worker of {' and '.join(without)} is up: {lasting}."
    return "ready", "It serves."


def _answers(address: str) -> bool:
    """Whether anything of HTTP does there; of gRPC, whether anybody listens."""
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
    """Those that have workers, or are to have some."""
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
