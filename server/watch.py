"""Probe calls that the server makes itself while it answers no others, so that its metrics show whether it answers.

A worker that TorchServe lists as READY may never answer again while /ping says Healthy: only an answer proves it.
Each model reports when it gave its last one (eden_last_answer_timestamp_seconds). While callers keep that recent, no
probe is sent.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests

from server.api import BINARY, Api
from server.http import request
from server.topology import FUSED, LIVE, NODES, WORKFLOW, Topology

logger = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds that one call may take."""
BUSY = 503


@dataclass(frozen=True)
class Probe:
    """Models that answer a clip together, and the calls for it; if the first ones are refused, the next are tried."""

    models: tuple[str, ...]
    calls: tuple[tuple[str, ...], ...]
    """URL paths; each call's body is the answer of the one before"""


PROBES = (
    # The nodes one by one, since a workflow's call that fails leaks a thread of Java's and theirs does not; but where
    # callers fill the hand-off, room is made for the workflow alone.
    Probe(NODES, (tuple(f"/predictions/{node}" for node in NODES), (f"/wfpredict/{WORKFLOW}",))),
    *(Probe((model,), ((f"/predictions/{model}",),)) for model in (FUSED, LIVE)),
)

_LAST_ANSWER = re.compile(r'^eden_last_answer_timestamp_seconds\{[^}]*ModelName="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)


class Watch:
    """Sends a pair of frames to each model of a topology that has not answered for `every` seconds."""

    def __init__(self, api: Api, metrics_url: str, topology: Topology, every: float) -> None:
        self._api, self._metrics_url, self._every = api, metrics_url, every
        self._probes = [probe for probe in PROBES if set(probe.models) <= set(topology.models)]
        self._complaints: dict[str, str] = {}

    def run(self, is_draining: Callable[[], bool]) -> None:
        """Call `look` for ever, except while new calls are refused."""
        while True:
            if not is_draining():
                self.look()
            time.sleep(self._every)

    def look(self) -> None:
        """Probe the models that were silent for too long. A fault is logged once, and again when it changes."""
        for probe in self._probes:
            try:
                complaint = "" if self._is_fresh(probe.models) else self._call(probe)
            except (requests.RequestException, OSError, ValueError) as error:
                complaint = f"no answer: {error}"
            self._tell(probe.models[-1], complaint)

    def _is_fresh(self, models: tuple[str, ...]) -> bool:
        answered = last_answers(self._metrics_url, PATIENCE)
        return all(time.time() - answered.get(model, 0.0) < self._every for model in models)

    def _call(self, probe: Probe) -> str:
        """Send a pair. Returns what is wrong with the answer; empty: nothing."""
        status, complaint = BUSY, ""
        for paths in probe.calls:
            if status == BUSY:
                status, complaint = self._through(paths)
        return complaint

    def _through(self, paths: tuple[str, ...]) -> tuple[int, str]:
        """The last call's status, and what is wrong (a workflow's error is a 200 with JSON)."""
        body = pair()
        for path in paths:
            reply = self._api.call(path, data=body, headers=BINARY, timeout=PATIENCE)
            if reply.status_code != 200 or reply.content.startswith(b"{"):
                return reply.status_code, f"{path} answered {reply.status_code}: {reply.text[:300]}"
            body = reply.content
        return 200, ""

    def _tell(self, model: str, complaint: str) -> None:
        before = self._complaints.get(model, "")
        self._complaints[model] = complaint
        if complaint and complaint != before:
            logger.warning("a pair sent to %s: %s", model, complaint)
        elif before and not complaint:
            logger.info("a pair sent to %s is answered again", model)


def last_answers(metrics_url: str, timeout: float) -> dict[str, float]:
    """When each model last answered, in seconds since the epoch, by the server's metrics. Raises requests' errors."""
    reply = request("GET", metrics_url, timeout=timeout)
    reply.raise_for_status()
    return {model: float(at) for model, at in _LAST_ANSWER.findall(reply.text)}


def pair() -> bytes:
    """Two frames of 64x64 as .npy: a gradient that moves by four pixels."""
    import numpy as np  # here, since most commands send none, and it takes longer to import than all else

    row = np.arange(64, dtype=np.uint8) * 3
    frames = np.stack([np.roll(row, shift) for shift in (0, 4)])
    body = io.BytesIO()
    np.save(body, np.broadcast_to(frames[:, None, :, None], (2, 64, 64, 3)).copy())
    return body.getvalue()
