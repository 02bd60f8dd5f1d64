"""One TorchServe: start it in a folder of its own, wait until it answers, drain it, stop it with its workers."""

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil
import requests

from handoff import HandoffSettings
from handoff.payload.leases import sweep
from server import checks, processes
from server.api import Api
from server.drain import wait_until_idle
from server.finding import Finding
from server.folder import FolderError, ServerFolder, replace_file
from server.java import JavaNotFound
from server.launch import LaunchError, last_words, launch
from server.processes import Identity
from server.readiness import NotReady, wait_until_ready
from server.settings import FOLDER, MODEL_STORE, PROJECT, Ports, configuration, dialled
from server.tokens import Tokens
from server.topology import Topology, packed_settings, packed_topology, topology_of


class ServerError(RuntimeError):
    """The server could not be started, stopped or drained; the message says why, with the end of its log."""


class RunsAlready(ServerError):
    """A server is already running in this folder."""


class Server:
    """A TorchServe in its own folder; as a context manager it is started, and stopped at the end.

    model_store  folder with the archives that `server.pack` built
    folder       working folder: key_file.json, logs/, and .eden-server/ with all that a stop removes; made if missing,
                 refused if it holds anything and no server was started there before
    ports        "config": those of config.properties; "free": free ones
    config       changes to config.properties
    env          changes to the environment of Java and the workers
    """

    def __init__(
        self,
        model_store: str | os.PathLike[str] = MODEL_STORE,
        folder: str | os.PathLike[str] = FOLDER,
        ports: Literal["config", "free"] = "config",
        config: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.place = ServerFolder(self.folder)
        self._wanted = (
            Path(model_store).absolute(),
            configuration(Ports.free() if ports == "free" else None, config or {}),
        )
        self._environment_changes = dict(env or {})
        self._java: Identity | None = None
        self._temporary: Path | None = None
        self._shared_folder: str | None = None
        self._topology: Topology | None = None
        self._read_state()

    # ------------------------------------------------------------------ where it answers

    @property
    def ports(self) -> Ports:
        return Ports.of(self.properties)

    @property
    def url(self) -> str:
        return dialled(self.properties["inference_address"])

    @property
    def management_url(self) -> str:
        return dialled(self.properties["management_address"])

    @property
    def metrics_url(self) -> str:
        return f"{dialled(self.properties['metrics_address'])}/metrics"

    @property
    def grpc_port(self) -> int:
        return self.ports.grpc_inference

    @property
    def health_url(self) -> str | None:
        """The URL above `/live` and `/ready`; None: no health checks."""
        address = self.properties.get("health_address")
        return dialled(address) if address else None

    @property
    def logs(self) -> Path:
        return self.place.logs

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.folder, self.management_url)

    @property
    def api(self) -> Api:
        return Api(self.url, self.management_url, self.tokens)

    @property
    def topology(self) -> Topology:
        """The topology that it offers: what its model store held at the start, or holds if it is not running."""
        return self._topology or packed_topology(self.model_store)

    def token(self, kind: str = "inference") -> str | None:
        """A valid token ("inference" or "management"); None if tokens are switched off."""
        return self.tokens.get(kind)

    # ------------------------------------------------------------------ what runs

    @property
    def java_pid(self) -> int:
        """The pid of its Java. Raises ServerError if it is not running."""
        if not self._java or not self.is_running():
            raise ServerError(f"No server runs in {self.folder}.")
        return self._java.pid

    def is_running(self) -> bool:
        return self._java is not None and self._java.process() is not None

    def worker_pids(self, model: str) -> list[int]:
        """The pids of a model's workers ("eden__encoder", "eden__dit_decoder", "autostart")."""
        return [worker["pid"] for worker in self.api.workers(model)]

    def thread_count(self) -> int:
        """The JVM's threads."""
        return psutil.Process(self.java_pid).num_threads()

    # ------------------------------------------------------------------ start

    def start(self, timeout: float = 600) -> Self:
        """Start it and return once a real call is answered. If that fails, nothing is left running.

        timeout: seconds. It first waits for another start or stop in this folder, and for a server that is about to
        end.
        Raises RunsAlready, and ServerError: a port is taken, something is missing, it is not ready in time.
        """
        _insist(checks.names((PROJECT, self._wanted[0], self.folder)))
        try:
            self.place.claim()
            with self.place.locked(timeout):
                deadline = time.monotonic() + timeout
                self._read_state()
                self._wait_for_its_end(deadline)
                self._start(deadline)
        except FolderError as error:
            raise ServerError(str(error)) from None
        return self

    def _wait_for_its_end(self, deadline: float) -> None:
        """Return once no server is running here.

        Raises RunsAlready, or ServerError: one is running but does not serve.
        """
        while self.is_running():
            if self._is_serving():
                raise RunsAlready(f"A server is already running in {self.folder} (pid {self.java_pid}).")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"A server is running in {self.folder} (pid {self.java_pid}), but does not serve: stop it first."
                )
            time.sleep(0.1)

    def _is_serving(self) -> bool:
        try:
            return self.api.is_serving(self.topology)
        except (requests.RequestException, ValueError):  # Java closes its ports first, and ends seconds later
            return False

    def _start(self, deadline: float) -> None:
        self.model_store, self.properties = self._wanted
        self._topology = None
        self._check()
        since = time.strftime("%Y-%m-%dT%H:%M:%S")
        try:
            self._end()  # workers whose Java was killed
            self.place.refuse_from(None)  # of a drain whose server died
            self._temporary = self.place.make_temporary()
            handoff = packed_settings(self.model_store / "encoder.mar").get("handoff") or {}
            self._shared_folder = handoff.get("shared_folder")
            self._write_state()
            self._java = launch(
                self.place, self._temporary, self.model_store, self.properties, self._environment_changes
            )
            self._write_state()
            wait_until_ready(self.api, self.topology, self.is_running, deadline - time.monotonic())
        except (JavaNotFound, LaunchError, NotReady) as error:
            message = f"{error}\n{last_words(self.place, since)}"
            self._end()
            raise ServerError(message) from None
        except BaseException:
            self._end()
            raise

    def _check(self) -> None:
        _insist(checks.tls(self.properties))
        _insist(checks.ports(self.ports))
        _insist(checks.archives(self.model_store, self.topology))

    # ------------------------------------------------------------------ stop

    def stop(self) -> bool:
        """End Java and all its workers, and remove what they leave behind except logs. Returns whether Java was
        running.

        It waits for a start that is under way. A folder where no server was started is not changed.
        Raises ServerError: the folder or the server is another user's.
        """
        if not self.place.is_ours():
            return False
        try:
            with self.place.locked():
                self._read_state()
                ran = self.is_running()
                self._end()
                return ran
        except FolderError as error:
            raise ServerError(str(error)) from None

    def drain(self, within: float, notice: float = 0.0) -> str:
        """Refuse new calls, let accepted ones finish, and stop. Returns what was not finished; empty: everything was.

        within: seconds that accepted calls get. notice: seconds before that during which calls are still accepted while
        the server says that it is not ready, so that a proxy sends new ones elsewhere. If this is interrupted, the
        server accepts calls again. Raises ServerError: no server is running here, or it ended.
        """
        self._read_state()
        java = self.java_pid  # raises ServerError
        begins = time.monotonic() + notice
        self.place.refuse_from(time.time() + notice)
        try:
            while (left := begins - time.monotonic()) > 0 and self.is_running():
                time.sleep(min(left, 0.2))
            ports = {self.ports.inference, self.ports.grpc_inference}
            end = begins + within
            models = self.topology.models
            unfinished = wait_until_idle(self.place, self.api, models, java, ports, self.is_running, end)
        except BaseException:
            self.place.refuse_from(None)
            raise
        self.stop()
        return unfinished

    def serve_on(self) -> bool:
        """Cancel a drain, also one that was left behind. Returns whether there was one."""
        there = self.place.is_ours() and self.place.draining.exists()
        if there:
            self.place.refuse_from(None)
        return there

    def _end(self) -> None:
        if self._temporary:
            processes.end(self._temporary)
            self.place.clear(self._temporary)
            _sweep_shared_memory(self.folder, self._shared_folder)
        self._java = self._temporary = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ------------------------------------------------------------------ state, for stop and status in another process

    def _write_state(self) -> None:
        state = {
            "java": vars(self._java) if self._java else None,
            "temporary": str(self._temporary),
            "model_store": str(self.model_store),
            "properties": self.properties,
            "shared_folder": self._shared_folder,
            "registers": self.topology.registers,
        }
        replace_file(self.place.state, json.dumps(state, indent=1))

    def _read_state(self) -> None:
        """Adopt the server that is running in this folder, if there is one."""
        self.model_store, self.properties = self._wanted
        self._java = self._temporary = self._shared_folder = self._topology = None
        try:
            state = json.loads(self.place.state.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):  # damaged: the machine went down while it was written
            return
        temporary = Path(state["temporary"])
        if not self.place.is_ours() or not self.place.owns_temporary(temporary):
            return  # a copy of another server's folder
        self._temporary, self._shared_folder = temporary, state.get("shared_folder")
        self._java = Identity(**state["java"]) if state["java"] else None
        if self.is_running():
            self.model_store = Path(state["model_store"])
            self.properties = state["properties"]
            self._topology = topology_of(state.get("registers", ()))


def _insist(finding: Finding) -> None:
    if finding.state == "failure":
        raise ServerError(str(finding))


def _sweep_shared_memory(folder: Path, shared_folder: str | None) -> None:
    """Remove shared memory that has no living owner: Java kills its workers, which leave it behind.

    folder: the server's. shared_folder: the setting in the archives that it served; None: the default.
    """
    settings = HandoffSettings(kind="auto", folder=folder)
    if shared_folder:
        settings = dataclasses.replace(settings, shared_folder=Path(shared_folder))
    for place in filter(Path.is_dir, settings.ledger_folders):
        sweep(place)
