"""A checkout, and so its server, in a folder whose name is more than plain ASCII, whatever the locale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eden.random_weights import write_random
from server.settings import PROJECT
from server.staging import PACKAGES
from tests.e2e.servers import run_printed_call

CHECKOUT = {"archive.sh", "config.properties", "workflow"}.union(*PACKAGES.values())
PLAIN = {"LC_ALL": "C"}
ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0"}


def run(checkout: Path, locale: dict[str, str], *call: str | Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    programs = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])}
    environment = kept | programs | locale
    return subprocess.run(
        [*map(str, call)], cwd=checkout, env=environment, capture_output=True, encoding="utf-8", timeout=240
    )


def server(checkout: Path, locale: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(checkout, locale, sys.executable, "-m", "server", *arguments)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What serving needs of the project, in such a folder, with its archives packed."""
    folder = tmp_path_factory.mktemp("checkouts") / "Ünï 日本 #1 50%25\\n"
    folder.mkdir()
    for name in sorted(CHECKOUT):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    write_random(folder / "weights")
    packed = run(folder, PLAIN, folder / "archive.sh", "--checkpoint", "weights")
    assert packed.returncode == 0, packed.stdout + packed.stderr
    return folder


def test_it_packs_starts_and_answers_there(checkout):
    try:
        started = server(checkout, PLAIN, "start", "--ports", "free")
        assert started.returncode == 0, started.stdout + started.stderr
        for locale in (PLAIN, {"LANG": "C.UTF-8"}):
            status = server(checkout, locale, "status", "--within", "60")
            assert status.returncode == 0, status.stdout + status.stderr
            assert str(checkout / "run/server/key_file.json") in status.stdout
            assert run_printed_call(status.stdout, checkout).shape == (64, 96, 3)
    finally:
        stopped = server(checkout, PLAIN, "stop")
    assert stopped.stdout.startswith("Stopped")


def test_where_python_cannot_read_the_name_it_says_so(checkout):
    started = server(checkout, ASCII_ONLY, "start", "--ports", "free")
    assert started.returncode == 1
    assert "set LC_ALL=C.UTF-8" in started.stderr
    assert "Traceback" not in started.stderr
    assert server(checkout, ASCII_ONLY, "stop").returncode == 0
