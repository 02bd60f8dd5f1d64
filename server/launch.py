"""Starts TorchServe's Java in a folder of its own, and finds in its logs why it failed."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import psutil

from server import java
from server.folder import ServerFolder
from server.java import LOGGING
from server.processes import Identity
from server.settings import write_properties

STRAYS = {"JAVA_HOME", "TS_CONFIG_FILE", "LOG_LOCATION", "METRICS_LOCATION", "TS_MODEL_SERVER_HOME"}
"""Environment variables that would give the launcher another Java, another configuration or other folders."""

LONGEST = 300.0
"""Seconds that the launcher may take; on an idle machine it takes two."""

REASON = re.compile(r"\b[\w.]*(Error|Exception|Invalid configuration): (?!null|No module named 'ts\.torch_handler).*")
"""Matches log lines that say why a worker or Java failed, and not those that only say that it did."""


class LaunchError(RuntimeError):
    """TorchServe's launcher started nothing."""


def launch(
    folder: ServerFolder,
    temporary: Path,
    model_store: Path,
    properties: Mapping[str, str],
    changes: Mapping[str, str],
) -> Identity:
    """Start TorchServe with these properties and changes to the environment. Returns its Java's identity.

    Raises LaunchError, java.JavaNotFound.
    """
    folder.logs.mkdir(exist_ok=True)
    write_properties(folder.configuration, properties)
    # --ncs: each start takes its configuration from that file, never from a snapshot of the last stop.
    options = ["--start", "--ncs", "--ts-config", str(folder.configuration), "--model-store", str(model_store)]
    with folder.console.open("wb") as console:
        try:
            subprocess.run(
                [sys.executable, "-m", "ts.model_server", *options],
                cwd=folder.path,
                env=_environment(temporary) | dict(changes),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the terminal is for the one who waits, who then stops the server
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired:
            raise LaunchError(f"TorchServe's launcher has not ended within {LONGEST:g} s.") from None
    try:
        return Identity.of(int((temporary / ".model_server.pid").read_text(encoding="ascii")))
    except (FileNotFoundError, psutil.NoSuchProcess):
        raise LaunchError("TorchServe's launcher started nothing.") from None


def _environment(temporary: Path) -> dict[str, str]:
    wrapper = java.install(temporary / "bin")
    environment = {key: value for key, value in os.environ.items() if key not in STRAYS}
    environment["PATH"] = os.pathsep.join([str(wrapper.parent), environment.get("PATH", os.defpath)])
    environment["TEMP"] = environment["TMPDIR"] = str(temporary)
    return environment


def log_bound() -> int:
    """Most bytes that the logs take by server/log4j2.xml: the current files and the old ones that are kept."""
    root = ElementTree.parse(LOGGING).getroot()
    sizes = {each.get("name"): each.text or "" for each in root.iter("Property")}
    default = re.search(r":-(\d+) MB", sizes["size"])
    assert default
    files = [int(each.get("max", "")) + 1 for each in root.iter("DefaultRolloverStrategy")]
    return sum(files) * int(default[1]) << 20


def last_words(folder: ServerFolder, since: str, lines: int = 10) -> str:
    """Why TorchServe failed, by its logs: the distinct reasons in them, else the last `lines` of its console.

    since: the launch in local time, as the logs write it ("2025-01-31T12:00:00"); older lines are another run's.
    """
    console = _lines(folder.console)
    logs = [line for name in ("ts_log.log", "model_log.log") for line in _later(_lines(folder.logs / name), since)]
    reasons = dict.fromkeys(match[0] for line in [*console, *logs] if (match := REASON.search(line)))
    return "\n".join([*(list(reasons) or console)[-lines:], f"Its logs are in {folder.logs}."])


def _later(lines: list[str], since: str) -> Iterable[str]:
    """The lines from the first one dated `since` or later; those of a stack trace have no date."""
    return itertools.dropwhile(lambda line: not (line[:4].isdigit() and line >= since), lines)


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-2000:] if log.exists() else []
