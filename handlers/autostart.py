"""A model that registers the workflow: TorchServe cannot load one at start by itself, but it can load a model.

Its worker is kept: TorchServe restores what ran at its last stop, so a server that starts for the second time
finds autostart among its models again, and a worker that was killed comes back and finds the workflow registered.
"""

import logging
import os
import threading
import time

import psutil
import requests

from server.api import Api
from server.running import api_of

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds to wait for the management interface."""
ATTEMPTS = 2
"""A registration that TorchServe refuses (a worker that does not load) is tried that often."""


class Autostart:
    """TorchServe's handler; answers every request with where the registration stands."""

    def __init__(self) -> None:
        self._state = {"state": "waiting", "detail": ""}

    def initialize(self, context) -> None:
        archive = context.model_yaml_config["handler"]["workflow"]
        # In a thread: TorchServe opens its management interface only once the models that it loads at start are up.
        threading.Thread(target=self._run, args=(archive, os.getppid()), daemon=True).start()

    def handle(self, requests_in_batch, context) -> list[dict[str, str]]:
        time.sleep(0.003)  # TorchServe can lose an answer that comes within a millisecond
        for index in range(len(requests_in_batch)):
            if not any(isinstance(each, str) for each in context.get_all_request_header(index).values()):  # by gRPC
                context.set_response_header(index, "ts_stream_next", "false")  # without it, a stream ends this worker
        return [dict(self._state) for _ in requests_in_batch]

    def _run(self, archive: str, java: int) -> None:
        try:
            self._register(wait_for_management(psutil.Process(java)), archive)
        except Exception as error:  # nobody else would hear of it: this thread has no caller
            self._tell("failed", f"{archive}: {error}", logging.ERROR)

    def _register(self, api: Api, archive: str) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                begun = time.monotonic()
                status = api.register(archive)
                how = "was registered already" if status == 409 else f"registered in {time.monotonic() - begun:.1f} s"
                return self._tell("registered", f"{archive} {how}")
            except requests.HTTPError as error:
                reply = error.response
                said = " ".join(reply.text.split())
                detail = f"{archive}: attempt {attempt} of {ATTEMPTS}: {reply.status_code} {said}"
                self._tell("failed" if attempt == ATTEMPTS else "waiting", detail, logging.ERROR)
                time.sleep(attempt)

    def _tell(self, state: str, detail: str, level: int = logging.INFO) -> None:
        self._state = {"state": state, "detail": detail}
        logger.log(level, "autostart: %s: %s", state, detail)


def wait_for_management(java: psutil.Process) -> Api:
    """The management interface of that TorchServe, once it answers. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    reason: Exception | None = None
    while time.monotonic() < deadline:
        try:
            api = api_of(java)  # read anew each time: its key file may be older than this start
            api.workflows()
            return api
        except (requests.RequestException, OSError, ValueError) as error:
            reason = error
            time.sleep(0.1)
    raise TimeoutError(f"TorchServe's management interface did not answer within {PATIENCE:.0f} s: {reason}")
