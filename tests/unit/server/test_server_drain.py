"""The marks by which a drain is told, and when a server is known to have nothing left to do."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from server import drain as drain_module
from server.api import Api
from server.drain import unsent, wait_until_idle
from server.folder import ServerFolder
from server.tokens import Tokens
from server.torchserve import Server, ServerError

NOBODY = "http://127.0.0.1:9"
"""The discard port: what asks there is refused at once."""

WORKS = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_SH)
print(flush=True)
time.sleep(600)
"""


def share(place: ServerFolder) -> int:
    """A file on which a worker's lock is held, until it is closed."""
    file = os.open(place.working, os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def test_calls_are_refused_from_the_moment_that_was_named(place):
    assert not place.refuses() and not place.draining.exists()
    place.refuse_from(time.time() + 1000)
    assert place.draining.exists() and not place.refuses()
    place.refuse_from(time.time() - 1)
    assert place.refuses()
    place.refuse_from(None)
    assert not place.refuses() and not place.draining.exists()


def test_it_works_while_any_worker_shares_the_lock_and_not_when_that_was_killed(place):
    assert not place.is_working()
    mine = share(place)
    with subprocess.Popen([sys.executable, "-c", WORKS, place.working], stdout=subprocess.PIPE) as worker:
        assert worker.stdout.readline()
        assert place.is_working()
        os.close(mine)
        assert place.is_working()
        worker.kill()
    assert not place.is_working()


def test_a_stop_removes_the_marks(place):
    place.refuse_from(0)
    os.close(share(place))
    place.clear(place.make_temporary())
    assert not place.draining.exists() and not place.working.exists()


def wait(place: ServerFolder, seconds: float, ports: frozenset[int] = frozenset()) -> str:
    api = Api(NOBODY, NOBODY, Tokens(place.path, NOBODY))
    return wait_until_idle(place, api, ("m",), os.getpid(), set(ports), lambda: True, time.monotonic() + seconds)


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(drain_module, "QUIET", 0.3)


def test_it_waits_until_the_last_call_is_answered(place, quiet):
    file = share(place)
    released = []

    def release() -> None:
        released.append(time.monotonic())
        os.close(file)

    timer = threading.Timer(0.5, release)
    timer.start()
    assert wait(place, 60) == ""
    assert released and time.monotonic() >= released[0] + 0.3
    timer.join()


def test_what_is_left_when_the_time_is_up_is_told(place, quiet):
    file = share(place)
    assert wait(place, 0.3) == "calls are being computed, or tokens wait to be fetched"
    os.close(file)
    assert wait(place, 60) == ""


def test_an_answer_that_its_caller_does_not_take_is_left_to_do(place, quiet):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller, listener.accept()[0] as answering:
            assert unsent(os.getpid(), {port}) == 0
            answering.setblocking(False)
            sent = 0
            try:
                while True:
                    sent += answering.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            assert unsent(os.getpid(), {port}) == 1
            assert unsent(os.getpid(), {port + 1}) == 0
            assert wait(place, 0.3, frozenset({port})) == "1 answers are on their way to slow callers"
            while sent:
                sent -= len(caller.recv(1 << 20))
            assert wait(place, 60, frozenset({port})) == ""


def test_a_server_that_ends_meanwhile_was_not_drained(place):
    api = Api(NOBODY, NOBODY, Tokens(place.path, NOBODY))
    told = wait_until_idle(place, api, (), os.getpid(), set(), lambda: False, time.monotonic() + 60)
    assert told == "it ended before that, or was stopped"


def test_where_no_server_runs_nothing_is_drained_or_marked(tmp_path):
    server = Server(folder=tmp_path / "server")
    with pytest.raises(ServerError, match="No server runs"):
        server.drain(1)
    assert not server.serve_on()
    assert not (tmp_path / "server").exists()
