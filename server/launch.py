"""Starting TorchServe's Java in a folder of its own, and reading from its logs why it failed."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from server import java
from server.processes import Identity
from server.settings import PROJECT, write_properties

STRAYS = {"JAVA_HOME", "TS_CONFIG_FILE", "LOG_LOCATION", "METRICS_LOCATION", "TS_MODEL_SERVER_HOME"}
"""Variables that would lead the launcher elsewhere: to another Java, another configuration, other folders."""

REASON = re.compile(r"\b[\w.]*(Error|Exception|Invalid configuration): (?!null|No module named 'ts\.torch_handler).*")
"""The lines of a log that say why a worker or Java failed, in place of those that only say that it did."""


class LaunchError(RuntimeError):
    """TorchServe's launcher started nothing."""


@dataclass(frozen=True)
class Place:
    """The folders of one server."""

    folder: Path
    """Its working folder."""
    temporary: Path
    """Unpacked archives and the workers' sockets; emptied when it stops."""

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def console(self) -> Path:
        return self.logs / "console.log"


def launch(place: Place, model_store: Path, properties: Mapping[str, str], changes: Mapping[str, str]) -> Identity:
    """Start TorchServe with these properties and changes to the environment; the identity of its Java.

    Raises LaunchError, java.JavaNotFound.
    """
    place.logs.mkdir(parents=True, exist_ok=True)
    place.temporary.mkdir(exist_ok=True)
    configuration = place.folder / "config.properties"
    write_properties(configuration, properties)
    # --ncs: each start takes its configuration from that file, never from a snapshot of the last stop.
    options = ["--start", "--ncs", "--ts-config", str(configuration), "--model-store", str(model_store)]
    options += ["--log-config", str(PROJECT / "server" / "log4j2.xml")]
    with place.console.open("wb") as console:
        subprocess.run(
            [sys.executable, "-m", "ts.model_server", *options],
            cwd=place.folder,
            env=_environment(place) | dict(changes),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal is for the one who waits, who then stops the server
            timeout=60,
        )
    try:
        return Identity.of(int((place.temporary / ".model_server.pid").read_text()))
    except (FileNotFoundError, psutil.NoSuchProcess):
        raise LaunchError("TorchServe's launcher started nothing.") from None


def _environment(place: Place) -> dict[str, str]:
    wrapper = java.install(place.folder / "bin")
    environment = {key: value for key, value in os.environ.items() if key not in STRAYS}
    environment["PATH"] = os.pathsep.join([str(wrapper.parent), environment.get("PATH", os.defpath)])
    environment["TEMP"] = environment["TMPDIR"] = str(place.temporary)
    return environment


def last_words(place: Place, since: str, lines: int = 10) -> str:
    """Why it failed, as far as its logs tell: the distinct reasons in them, else the console's end.

    since: when it was launched, local time as the logs have it ("2025-01-31T12:00:00"); what is older is another run's.
    """
    of_models = [line for line in _lines(place.logs / "model_log.log") if line >= since]
    console = _lines(place.console)
    reasons = dict.fromkeys(match[0] for line in [*console, *of_models] if (match := REASON.search(line)))
    return "\n".join([*(list(reasons) or console)[-lines:], f"Its logs are in {place.logs}."])


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-2000:] if log.exists() else []
