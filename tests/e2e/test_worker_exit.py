"""A worker that ends itself: its last answers arrive in full, and the next call is another worker's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from handlers.worker_exit import exit_after_answer
from server import Server
from server.api import BINARY
from server.settings import PROJECT
from tests.e2e.leaver import CODE, LENGTH
from tests.e2e.servers import wait_for

BATCH_SIZES = {"leaver": 1, "leavers": 4}
YAML = """
minWorkers: 1
maxWorkers: 1
batchSize: {batch_size}
maxBatchDelay: 60000  # a batch is full, or it is not sent
responseTimeout: 60
"""


@pytest.fixture(scope="module")
def leaving(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server has two models of leaver.py meanwhile: one by one, and in batches."""
    folder = tmp_path_factory.mktemp("leaving")
    packed = folder / "files" / "handlers"
    packed.mkdir(parents=True)
    for name in ("__init__.py", "worker_exit.py"):
        shutil.copy(PROJECT / "handlers" / name, packed)
    for model, batch_size in BATCH_SIZES.items():
        config = folder / f"{model}.yaml"
        config.write_text(YAML.format(batch_size=batch_size))
        command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", model, "--version", "1"]
        command += ["--handler", str(Path(__file__).with_name("leaver.py")), "--extra-files", str(packed.parent)]
        command += ["--config-file", str(config), "--export-path", str(folder)]
        subprocess.run(command, check=True, env=os.environ | {"TMPDIR": str(folder)}, timeout=100)
        shutil.copy(folder / f"{model}.mar", server.model_store)  # whence alone it takes any
        server.api.register(f"{model}.mar")
    yield server
    headers = server.tokens.headers("management")
    for model in BATCH_SIZES:
        assert requests.delete(f"{server.management_url}/models/{model}", headers=headers, timeout=60).ok


def call(server: Server, text: str, model: str = "leaver") -> tuple[int, str]:
    """The pid of the worker that answered, and what it answered."""
    reply = server.api.call(f"/predictions/{model}", data=text.encode(), headers=BINARY)
    assert reply.status_code == 200, reply.text[:500]
    return int(reply.text[:10]), reply.text[10:]


def call_together(server: Server, verb: str) -> list[tuple[int, str]]:
    """As `call`, for one batch of `leavers`: numbered from 0."""
    size = BATCH_SIZES["leavers"]
    with ThreadPoolExecutor(size) as callers:
        return list(callers.map(lambda number: call(server, f"{verb} {number}", "leavers"), range(size)))


def wait_for_another(server: Server, model: str, pid: int) -> int:
    """The pid of the worker that is ready in place of that one, which is gone."""
    wait_for(lambda: not psutil.pid_exists(pid))
    wait_for(lambda: [(each["pid"] != pid, each["status"]) for each in server.api.workers(model)] == [(True, "READY")])
    (another,) = server.worker_pids(model)
    return another


def test_its_last_answer_is_whole_and_the_next_call_is_anothers(leaving):
    (first,) = leaving.worker_pids("leaver")
    assert call(leaving, "stay 1") == (first, "1" * LENGTH)
    assert call(leaving, "stay 2") == (first, "2" * LENGTH)
    assert call(leaving, "leave 3") == (first, "3" * LENGTH)
    second = wait_for_another(leaving, "leaver", first)
    assert call(leaving, "stay 4") == (second, "4" * LENGTH)
    assert call(leaving, "stay 5") == (second, "5" * LENGTH)
    log = (leaving.logs / "model_log.log").read_text()
    assert log.count(f"this worker (pid {first}) ends with exit code {CODE} once") == 1


def test_every_answer_of_its_last_batch_is_whole(leaving):
    (first,) = leaving.worker_pids("leavers")
    assert call_together(leaving, "leave") == [(first, str(number) * LENGTH) for number in range(4)]
    second = wait_for_another(leaving, "leavers", first)
    assert call_together(leaving, "stay") == [(second, str(number) * LENGTH) for number in range(4)]


def test_elsewhere_it_is_refused():
    with pytest.raises(RuntimeError, match="no worker of TorchServe's"):
        exit_after_answer()
