"""One TorchServe: start it in a folder of its own, wait until it answers, stop it with all that it started."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

from server import processes
from server.api import Api
from server.java import JavaNotFound
from server.launch import LaunchError, Place, last_words, launch
from server.processes import Identity
from server.readiness import NotReady, wait_until_ready
from server.settings import PROJECT, Ports, configuration
from server.tokens import Tokens

LONGEST_SOCKET_FOLDER = 80
"""Characters: the workers' socket paths must stay under the 108 that Linux allows."""


class ServerError(RuntimeError):
    """The server could not be started; the message says why, with the end of its log."""


class Server:
    """A TorchServe of its own, usable as a context manager that starts and stops it.

    model_store  what archive.sh built
    folder       its working folder: configuration, key_file.json, logs/, temporary files; made if missing
    ports        "config": those of config.properties; "free": five free ones
    config       changes to config.properties
    env          changes to the environment that Java and the workers get
    """

    def __init__(
        self,
        model_store: str | os.PathLike[str] = PROJECT / "model_store",
        folder: str | os.PathLike[str] = PROJECT / "run" / "server",
        ports: Literal["config", "free"] = "config",
        config: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.model_store = Path(model_store).absolute()
        self.folder = Path(folder).absolute()
        self._properties = configuration(Ports.free() if ports == "free" else None, config or {})
        self._environment_changes = dict(env or {})
        self._java: Identity | None = None
        self._place = Place(self.folder, self.folder / "tmp")
        self._read_state()

    # ------------------------------------------------------------------ where it answers

    @property
    def ports(self) -> Ports:
        return Ports.of(self._properties)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inference}"

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.metrics}/metrics"

    @property
    def grpc_port(self) -> int:
        return self.ports.grpc_inference

    @property
    def logs(self) -> Path:
        return self._place.logs

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.folder, self.management_url)

    @property
    def api(self) -> Api:
        return Api(self.url, self.management_url, self.tokens)

    def token(self, kind: str = "inference") -> str | None:
        """A valid token ("inference" or "management"); None if tokens are switched off."""
        return self.tokens.get(kind)

    # ------------------------------------------------------------------ what runs

    @property
    def java_pid(self) -> int:
        """Raises ServerError if it does not run."""
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

    def start(self, timeout: float = 180) -> Self:
        """Start it and return once a real call is answered. Whatever goes wrong, nothing is left running.

        Raises ServerError: it runs already, a port is taken, something is missing, or it is not ready in time.
        """
        self._check()
        since = time.strftime("%Y-%m-%dT%H:%M:%S")
        try:
            self._prepare()
            self._java = launch(self._place, self.model_store, self._properties, self._environment_changes)
            self._write_state()
            wait_until_ready(self.api, self.is_running, timeout)
        except (JavaNotFound, LaunchError, NotReady) as error:
            message = f"{error}\n{last_words(self._place, since)}"
            self.stop()
            raise ServerError(message) from None
        except BaseException:
            self.stop()
            raise
        return self

    def _check(self) -> None:
        if self.is_running():
            raise ServerError(f"A server runs in {self.folder} already (pid {self.java_pid}).")
        if taken := self.ports.taken():
            raise ServerError(f"Port {taken[0]} is taken: does another TorchServe run? Stop it, or ask for free ports.")
        for archive in ("encoder.mar", "dit_decoder.mar", "autostart.mar", "eden.war"):
            if not (self.model_store / archive).exists():
                raise ServerError(f"{self.model_store / archive} is missing: build it with ./archive.sh.")

    def _prepare(self) -> None:
        processes.end(self._place.temporary)  # workers whose Java was killed
        self._clear_temporary()
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(str(self._place.temporary)) > LONGEST_SOCKET_FOLDER:
            self._place = Place(self.folder, Path(tempfile.mkdtemp(prefix="eden-")))
        self._write_state()

    # ------------------------------------------------------------------ stop

    def stop(self) -> None:
        """End Java and all its workers, and remove what they leave behind; the logs stay."""
        processes.end(self._place.temporary)
        self._java = None
        self._clear_temporary()
        for litter in ("key_file.json", "state.json", "config.properties"):
            (self.folder / litter).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "bin", ignore_errors=True)
        _sweep_shared_memory()

    def _clear_temporary(self) -> None:
        shutil.rmtree(self._place.temporary, ignore_errors=True)
        self._place = Place(self.folder, self.folder / "tmp")

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
            "temporary": str(self._place.temporary),
            "model_store": str(self.model_store),
            "properties": self._properties,
        }
        (self.folder / "state.json").write_text(json.dumps(state, indent=1))

    def _read_state(self) -> None:
        """Take over the server that runs in this folder, if one does."""
        try:
            state = json.loads((self.folder / "state.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return
        self._place = Place(self.folder, Path(state["temporary"]))
        self._java = Identity(**state["java"]) if state["java"] else None
        if self.is_running():
            self.model_store = Path(state["model_store"])
            self._properties = state["properties"]


def _sweep_shared_memory() -> None:
    """Java kills its workers, so what they held in shared memory outlives them: remove what has no living owner."""
    from handoff import HandoffSettings  # here, since it takes a second to import and only a stop needs it
    from handoff.ledger import sweep

    folder = HandoffSettings().ledger_folder
    if folder.is_dir():
        sweep(folder)
