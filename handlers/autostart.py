"""A model that registers the archives that archive.sh packed: TorchServe loads models when it starts, but no workflow.

Afterwards it watches whether the registered models answer, and answers /live and /ready (see docs/operations.md).
Its worker stays: TorchServe restores the models of its last run, autostart among them, and replaces a worker that dies.
Either then finds everything registered.
"""

import itertools
import logging
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import requests

from server.api import Api
from server.folder import ServerFolder
from server.health import Health, serve
from server.pause import pause_until
from server.running import api_of, health_address_of, metrics_url_of
from server.topology import topology_of
from server.watch import Watch

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds to wait for the management interface."""
ATTEMPTS = 2
"""How often a registration is tried that TorchServe refuses, as when a worker does not load."""


class Autostart:
    """TorchServe's handler; answers every request with the state of the registration."""

    def __init__(self) -> None:
        self._state = {"state": "waiting", "detail": ""}

    def initialize(self, context: Any) -> None:
        settings, java = context.model_yaml_config["handler"], psutil.Process(os.getppid())
        archives, watch_s = settings["register"], float(settings["watch_s"])
        place = ServerFolder(Path(java.cwd()))
        if address := health_address_of(java):
            recent = float(settings["ready_s"]) if watch_s else None
            topology, metrics_url = topology_of(archives), metrics_url_of(java)
            health = Health(api_of(java), metrics_url, topology, place, self._is_registered, recent)
            threading.Thread(target=serve, args=(*address, health), daemon=True).start()
        # In a thread: TorchServe opens its management interface only once the models that it loads at start are up.
        arguments = (archives, watch_s, java, place)
        threading.Thread(target=self._run, args=arguments, daemon=True).start()

    def handle(self, requests_in_batch: list[dict[str, Any]], context: Any) -> list[dict[str, str]]:
        started = time.monotonic()
        for index in range(len(requests_in_batch)):
            if not any(isinstance(each, str) for each in context.get_all_request_header(index).values()):  # by gRPC
                context.set_response_header(index, "ts_stream_next", "false")  # without it, a stream ends this worker
        pause_until(started)
        return [dict(self._state) for _ in requests_in_batch]

    def _run(self, archives: list[str], watch_s: float, java: psutil.Process, place: ServerFolder) -> None:
        try:
            api = wait_for_management(java)
            how = [self._register(api, archive) for archive in archives]
            self._tell("registered", "; ".join(how))
        except Exception as error:  # nobody else would hear of it: this thread has no caller
            self._tell("failed", f"{', '.join(archives)} could not be registered: {error}", logging.ERROR)
            return
        if watch_s:
            Watch(api, metrics_url_of(java), topology_of(archives), watch_s).run(place.draining.exists)

    def _register(self, api: Api, archive: str) -> str:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                begun = time.monotonic()
                status = api.register(archive, gpus() or 1)
                how = "was registered already" if status == 409 else f"registered in {time.monotonic() - begun:.1f} s"
                return f"{archive} {how}"
            except requests.HTTPError as error:
                reply = error.response
                answer = " ".join(reply.text.split())
                detail = f"attempt {attempt} of {ATTEMPTS}: {reply.status_code} {answer}"
                self._tell("waiting", f"{archive}: {detail}", logging.ERROR)
                time.sleep(attempt)
        raise RuntimeError(detail)

    def _is_registered(self) -> bool:
        return self._state["state"] == "registered"

    def _tell(self, state: str, detail: str, level: int = logging.INFO) -> None:
        self._state = {"state": state, "detail": detail}
        logger.log(level, "autostart: %s: %s", state, detail)


def gpus() -> int:
    """How many GPUs workers see: those that nvidia-smi lists, limited by CUDA_VISIBLE_DEVICES."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    listed = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, timeout=60)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    named = itertools.takewhile(lambda each: each not in ("", "-1"), map(str.strip, visible.split(",")))
    return min(count, len(list(named)))


def wait_for_management(java: psutil.Process) -> Api:
    """Wait until the management interface of this TorchServe answers. Raises TimeoutError after PATIENCE seconds."""
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
