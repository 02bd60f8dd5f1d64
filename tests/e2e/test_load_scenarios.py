"""Locust as people run it, against a real server: every scenario, every tag, two processes, the shapes of the load."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

import media
from loadtest._phases import Phase
from server import Server
from server.settings import PROJECT, Ports
from tests.e2e.servers import moving_frames, wait_for
from tests.serving_thread import serving

USERS = {
    "streaming": "StreamingUser",
    "batch": "BatchUser",
    "mixed": "MixedUser",
    "chain": "ChainUser",
    "grpc": "GrpcUser",
}
FUSED_USERS = {"streaming": "StreamingUser", "batch": "BatchUser", "mixed": "MixedUser", "fused": "FusedUser"}
"""By --route fused."""
SMALL = ("--frame-size", "64x96", "--clip", "3", "--film-frames", "12", "--check-every", "5")


def locust(server: Server, *options: str, folder: Path, seconds: float = 240) -> subprocess.CompletedProcess:
    """Run `locust -f loadtest/ --headless` with these options; statistics go to files named `load` in `folder`."""
    with running_locust(server, *options, folder=folder) as running:
        out, err = running.communicate(timeout=seconds)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


@contextmanager
def running_locust(server: Server, *options: str, folder: Path) -> Iterator[subprocess.Popen]:
    """The same, while it runs; it is killed in the end if it still does."""
    environment = os.environ | {
        "LOCUST_HOST": server.url,
        "EDEN_KEY_FILE": str(server.tokens.path),
        "EDEN_GRPC": f"127.0.0.1:{server.grpc_port}",
    }
    program = [sys.executable, "-m", "locust", "-f", "loadtest/", "--headless", "--csv", str(folder / "load")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*program, *SMALL, *options], cwd=PROJECT, env=environment, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()


def locust_until(seen: Callable[[], bool], server: Server, *options: str, folder: Path) -> subprocess.CompletedProcess:
    """Run Locust until its statistics, which it writes once a second, show what is looked for; then have it end."""

    with running_locust(server, "-t", "240s", *options, folder=folder) as running:
        wait_for(lambda: running.poll() is not None or shows(seen), 200)
        running.terminate()
        out, err = running.communicate(timeout=100)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def shows(seen: Callable[[], bool]) -> bool:
    """Whether the statistics show it by now; those that are not there yet, or just being written, show nothing."""
    try:
        return seen()
    except (OSError, KeyError, TypeError, ValueError):
        return False


def failures(folder: Path) -> int:
    return int(rows(folder)["", "Aggregated"]["Failure Count"])


def rows(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Locust's statistics by (type, name)."""
    with (folder / "load_stats.csv").open() as file:
        return {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}


def count(folder: Path, kind: str, name: str) -> int:
    return int(rows(folder).get((kind, name), {"Request Count": 0})["Request Count"])


def assert_no_failure(run: subprocess.CompletedProcess, folder: Path) -> None:
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "Traceback" not in run.stderr
    total = rows(folder)["", "Aggregated"]
    assert int(total["Failure Count"]) == 0
    assert int(total["Request Count"]) > 0


@pytest.mark.parametrize("tag", USERS)
def test_each_scenario_by_its_tag(server, tmp_path, tag):
    run = locust(server, "-u", "2", "-r", "2", "-t", "200s", "--enough", "6", "--tags", tag, folder=tmp_path)
    assert_no_failure(run, tmp_path)
    frames = {name: int(row["Request Count"]) for (kind, name), row in rows(tmp_path).items() if kind == "FRAME"}
    assert set(frames) == {USERS[tag]}
    assert frames[USERS[tag]] >= 2
    assert count(tmp_path, "FIRST", USERS[tag]) >= 1


def test_the_plain_command_runs_every_scenario_without_a_failure(server, tmp_path):
    def drawn() -> set[str]:
        return {name for kind, name in rows(tmp_path) if kind == "FRAME"}

    run = locust_until(lambda: drawn() == set(USERS.values()), server, "-u", "5", "-r", "5", folder=tmp_path)
    assert_no_failure(run, tmp_path)
    assert drawn() == set(USERS.values())


def test_a_scenario_of_another_route_is_named(server, tmp_path):
    run = locust(server, "-t", "3s", "--tags", "fused", folder=tmp_path)
    assert run.returncode != 0 and "no scenario of --route workflow has the tags fused" in run.stderr


@pytest.mark.parametrize(("send", "answer"), [("jpeg", "npy"), ("mp4", "mp4")])
def test_formats(server, tmp_path, send, answer):
    options = (
        "--tags",
        "batch",
        "--send",
        send,
        "--answer",
        answer,
        "-t",
        "200s",
        "--enough",
        "6",
        "--check-every",
        "1",
    )
    assert_no_failure(locust(server, *options, folder=tmp_path), tmp_path)


def test_two_processes_under_one_master(server, tmp_path):
    def both() -> bool:
        return all(count(tmp_path, "FRAME", user) > 0 for user in ("StreamingUser", "BatchUser"))

    options = ("-u", "4", "-r", "4", "--tags", "streaming", "batch", "--processes", "2")
    run = locust_until(both, server, *options, folder=tmp_path)
    assert_no_failure(run, tmp_path)
    assert "(index 1) reported as ready. 2 workers connected" in run.stderr
    assert both()


def test_a_camera_that_asks_for_too_much_counts_what_it_skips(server, tmp_path):
    run = locust(
        server,
        "-u",
        "3",
        "-r",
        "3",
        "-t",
        "200s",
        "--enough",
        "20",
        "--tags",
        "streaming",
        "--rate",
        "200",
        folder=tmp_path,
    )
    assert_no_failure(run, tmp_path)
    sent, skipped = count(tmp_path, "FRAME", "StreamingUser"), count(tmp_path, "SKIPPED", "StreamingUser")
    assert skipped > sent > 0
    assert count(tmp_path, "LATE", "StreamingUser") > 0.5 * sent
    assert count(tmp_path, "JITTER", "StreamingUser") > 0


def phases(path: Path) -> list[Phase]:
    return [Phase(**json.loads(line)) for line in path.read_text().splitlines()]


def test_steps_measure_each_load_and_name_the_knee(server, tmp_path):
    options = ("--shape", "steps", "--steps", "1,4", "--settle-seconds", "1", "--tags", "streaming", "--rate", "0")
    for seconds in (2, 10, 40):  # in a short phase a machine with other work may have served nobody
        file = tmp_path / f"phases-{seconds}.jsonl"
        each = ("--phase-seconds", str(seconds), "--phases-file", str(file))
        run = locust(server, *options, *each, folder=tmp_path, seconds=240)
        assert_no_failure(run, tmp_path)
        measured = phases(file)
        assert [phase.users for phase in measured] == [1, 4]
        assert all(phase.seconds > 0.75 * seconds for phase in measured)
        if all(phase.frames_per_second() > 0 for phase in measured):
            break
    for phase in measured:
        assert phase.frames_per_second() > 0
        assert phase.calls()["requests"] == phase.rows["FRAME StreamingUser"]["requests"]
    assert "The knee:" in run.stdout


def test_a_spike_comes_and_goes(server, tmp_path):
    file = tmp_path / "phases.jsonl"
    options = ("--shape", "spike", "-u", "1", "--spike-users", "6", "--phase-seconds", "2", "--settle-seconds", "1")
    run = locust(server, *options, "--tags", "streaming", "--phases-file", str(file), folder=tmp_path)
    assert_no_failure(run, tmp_path)
    assert [(phase.name, phase.users) for phase in phases(file)] == [("before", 1), ("spike", 6), ("after", 1)]


def test_a_soak_is_measured_line_by_line(server, tmp_path):
    file = tmp_path / "phases.jsonl"
    options = ("--shape", "soak", "-u", "2", "-t", "4s", "--phase-seconds", "2", "--settle-seconds", "0")
    run = locust(server, *options, "--tags", "streaming", "--phases-file", str(file), folder=tmp_path)
    assert_no_failure(run, tmp_path)
    assert len(phases(file)) == 2


def test_errors_in_a_200_are_failures(server, tmp_path):
    """Frames below the smallest size: the workflow answers each with status 200 and an error's envelope."""
    options = ("--tags", "streaming", "--frame-size", "8x8", "--rate", "5")
    told = tmp_path / "load_failures.csv"
    run = locust_until(
        lambda: failures(tmp_path) > 0 and "at least 16" in told.read_text(), server, *options, folder=tmp_path
    )
    assert run.returncode == 1
    row = rows(tmp_path)["POST", "/wfpredict/eden K=2"]
    assert int(row["Failure Count"]) == int(row["Request Count"]) > 0
    assert "at least 16" in told.read_text()


def test_a_wrong_token_is_a_failure(server, tmp_path):
    told = tmp_path / "load_failures.csv"
    options = ("--tags", "batch", "--token", "wrong")
    run = locust_until(lambda: "Token" in told.read_text(), server, *options, folder=tmp_path)
    assert run.returncode == 1
    assert "Token" in told.read_text()


@pytest.mark.parametrize("tag", ["streaming", "batch", "chain", "grpc"])
def test_no_server_is_a_failure_neither_a_hang_nor_a_flood(server, tmp_path, tag):
    away = ("--host", "http://127.0.0.1:9", "--grpc", "127.0.0.1:9", "--rate", "0")
    begun = time.monotonic()
    run = locust_until(lambda: failures(tmp_path) > 3, server, "--tags", tag, *away, folder=tmp_path)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert failures(tmp_path) <= 5 * (time.monotonic() - begun) + 5  # one user: every --failure-pause of 0.25 s


def test_streams_broken_off_by_a_killed_worker_are_failures(server, tmp_path):
    options = ("--tags", "chain", "--clip", "24", "--frame-size", "96x160", "-u", "3", "-r", "3", "-t", "240s")
    with running_locust(server, *options, "--check-every", "0", folder=tmp_path) as running:
        wait_for(lambda: shows(lambda: count(tmp_path, "FIRST", "ChainUser") > 0))
        (victim,) = server.worker_pids("eden__dit_decoder")
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: shows(lambda: failures(tmp_path) > 0))
        running.terminate()
        _, err = running.communicate(timeout=90)
    assert running.returncode == 1
    assert "Traceback" not in err
    assert int(rows(tmp_path)["POST", "/predictions/eden__dit_decoder"]["Failure Count"]) >= 1
    wait_for(lambda: server.api.is_serving() and server.worker_pids("eden__dit_decoder") != [victim])


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_answer_that_breaks_off_is_a_failure_though_its_beginning_is_right(server, tmp_path, reset):
    """The head of a picture says its size: it would pass for one that came whole."""
    picture = media.encode_image(moving_frames()[0], "png")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(picture)

    class Torn(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard = b""
            while not heard.endswith(b"--\r\n") and (part := self.request.recv(1 << 20)):  # until the form ends
                heard = heard[-4:] + part
            self.request.sendall(head + picture[: len(picture) // 2])
            if reset:
                time.sleep(0.1)
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.request.close()

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Torn)) as torn:
        host = f"http://127.0.0.1:{torn.server_address[1]}"
        options = ("--tags", "batch", "--clip", "2", "--check-every", "0", "--token", "any")
        run = locust_until(lambda: failures(tmp_path) > 1, server, *options, "--host", host, folder=tmp_path)
    row = rows(tmp_path)["POST", "/wfpredict/eden K=2"]
    assert int(row["Failure Count"]) == int(row["Request Count"]) > 0
    assert run.returncode == 1 and "Traceback" not in run.stderr


@pytest.mark.parametrize("option", [("--frame-size", "big"), ("--tags", "nothing")])
def test_senseless_options_end_with_their_name(server, tmp_path, option):
    run = locust(server, "-t", "3s", *option, folder=tmp_path)
    assert run.returncode != 0
    assert option[-1] in run.stderr


def test_all_scenarios_are_offered():
    listed = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtest/", "--list"], cwd=PROJECT, capture_output=True, text=True
    )
    assert set(listed.stdout.split()[2:]) == set(USERS.values()) | set(FUSED_USERS.values())


def test_the_web_interface_offers_the_options(server, tmp_path):
    port = Ports.free().inference
    options = ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", server.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", "loadtest/", *options, *SMALL, "--key-file", str(server.tokens.path)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=60).ok)
        page = requests.get(f"http://127.0.0.1:{port}/", timeout=60).text
        for option in ("frame_size", "phase_seconds", "check_every"):
            assert option in page
        start = {"user_count": 2, "spawn_rate": 2, "host": server.url, "frame_size": "48x64"}
        assert requests.post(f"http://127.0.0.1:{port}/swarm", data=start, timeout=60).json()["success"]

        def stats() -> dict[str, Any]:
            return requests.get(f"http://127.0.0.1:{port}/stats/requests", timeout=60).json()

        wait_for(lambda: any(row["method"] == "FRAME" for row in stats()["stats"]))
        wait_for(lambda: stats()["state"] == "running")  # one user may have a frame before the other is there
        assert stats()["fail_ratio"] == 0
    finally:
        process.terminate()
        process.wait(120)
