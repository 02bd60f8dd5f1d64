"""`torchserve --start --model-store model_store`, and nothing else: once, again, and after its workers were killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

import media
from server import java
from server.settings import PROJECT, Ports, read_properties, write_properties
from tests.e2e.servers import WORKFLOW, moving_frames, wait_for

LONGEST = 200.0
"""Seconds from the command, or from a kill of all workers, to the next answer. On an idle machine it takes seven, on
one with six times as much work as cores fifty."""
ATTEMPT = 15.0
"""Seconds for one call: TorchServe can lose one that it batches in the very moment in which it learns that the
worker is dead, and then never answers it; the next one is served."""


@pytest.fixture
def root(model_store, tmp_path):
    """What such a start needs of the project's root, on other ports; nothing of it runs when the test is over."""
    properties = read_properties(PROJECT / "config.properties") | Ports.free().properties()
    write_properties(tmp_path / "config.properties", properties)
    (tmp_path / "server").mkdir()
    shutil.copy(PROJECT / "server" / "metrics.yaml", tmp_path / "server")
    (tmp_path / "model_store").symlink_to(model_store)
    (tmp_path / "tmp").mkdir()
    java.install(tmp_path / "bin")
    yield tmp_path
    for process in running(tmp_path):
        process.kill()


def running(root: Path) -> list[psutil.Process]:
    """Java and its workers: all of them keep their temporary files in the test's folder."""
    temporary = f"-Djava.io.tmpdir={root}/tmp", f"{root}/tmp/.ts.sock."
    lines = ((each, each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
    return [each for each, line in lines if any(argument.startswith(temporary) for argument in line)]


def torchserve(root: Path, *arguments: str) -> None:
    # No java but the wrapper's on PATH; TEMP and TMPDIR only keep this test's server apart from others on the machine,
    # and the options only make its Java start sooner.
    environment = {
        "PATH": f"{root}/bin",
        "HOME": os.environ.get("HOME", "/"),
        "TEMP": f"{root}/tmp",
        "TMPDIR": f"{root}/tmp",
        "JDK_JAVA_OPTIONS": os.environ["JDK_JAVA_OPTIONS"],
    }
    with (root / "console.log").open("ab") as console:
        subprocess.run(
            [str(Path(sys.executable).with_name("torchserve")), *arguments],
            cwd=root,
            env=environment,
            stdout=console,
            stderr=console,
            check=True,
            timeout=60,
        )


def start(root: Path) -> None:
    torchserve(root, "--start", "--model-store", "model_store")
    wait_for_frames(root, LONGEST)


def wait_for_frames(root: Path, longest: float) -> None:
    """Return once a pair is answered with the frame between."""
    url = read_properties(root / "config.properties")["inference_address"]
    body = media.encode_npy(moving_frames(2))
    answer = b"none"
    deadline = time.monotonic() + longest
    while not answer.startswith(media.NPY_MAGIC):
        console = (root / "console.log").read_text()[-3000:]
        assert time.monotonic() < deadline, f"no frame within {longest} s; the last answer: {answer[:300]!r}\n{console}"
        time.sleep(0.1)
        with contextlib.suppress(OSError, ValueError):  # not there yet
            token = json.loads((root / "key_file.json").read_text())["inference"]["key"]
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
            answer = requests.post(f"{url}{WORKFLOW}", data=body, headers=headers, timeout=ATTEMPT).content


def stop(root: Path) -> None:
    torchserve(root, "--stop")
    _, left = psutil.wait_procs(running(root), timeout=60)
    assert left == []


@pytest.mark.timeout(600)  # three starts and two recoveries, on a machine that may have other work
def test_a_plain_start_serves_again_and_again(root):
    start(root)
    stop(root)
    start(root)
    assert list((root / "logs" / "config").glob("*shutdown.cfg"))  # what TorchServe saved at its stop, and restores
    kill_workers(root)
    wait_for_frames(root, LONGEST)
    kill_workers(root)
    stop(root)
    start(root)
    stop(root)


def kill_workers(root: Path) -> None:
    wait_for(lambda: len(workers(root)) == 3)  # encoder, dit_decoder and autostart
    for each in workers(root):
        each.kill()


def workers(root: Path) -> list[psutil.Process]:
    return [each for each in running(root) if any(".ts.sock" in argument for argument in each.info["cmdline"])]
