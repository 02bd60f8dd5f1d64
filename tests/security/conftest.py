"""One server for all; and after each file it has the threads that it had before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server import Server
from tests.e2e.servers import assert_no_thread_leaked, pack, running_server
from tests.orphans import no_orphans as no_orphans
from tests.security.group import CALLERS, INNOCENT, made
from tests.security.targets import ENCODER_TARGET, READ_FRAMES, Client, client_of


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where callers of the server may leave frames: a folder of its own, in which no client tidies up."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def server(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of all that there is to attack. Its frames are small: on a CPU large ones keep a node busy for long.

    And each node has one thread: on cores that others use as well, two wait for each other busily.
    """
    settings = ("threads=1", "encoder:limits.max_pixels=1000000", "eden_fused:limits.max_pixels=1000000")
    settings += ("encoder:max_wait_s=600",)  # on such cores a queue may be slow, which is not what is tried here
    settings += (f"encoder:regions={shared}", f"dit_decoder:regions={shared}", f"eden_fused:regions={shared}")
    options = (option for setting in settings for option in ("--set", setting))
    store = pack(tmp_path_factory.mktemp("model_store"), "--topology", "both", *options)
    with running_server(store, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """Calls of the server, which keeps its threads."""
    with client_of(server) as client:
        with ThreadPoolExecutor(CALLERS + 1) as pool:  # every thread that the server makes for so many callers is there
            for target in READ_FRAMES:
                told = pool.map(lambda _, target=target: made(client, target, INNOCENT), range(2 * CALLERS))
                assert {str(answer.code) if answer.code == 200 else str(answer) for answer in told} == {"200"}
        before = server.thread_count()
        yield client
        assert_no_thread_leaked(server, before)


@pytest.fixture
def ticket(client: Client) -> bytes:
    """A good one, of a clip of two frames."""
    answer = client.call(ENCODER_TARGET, INNOCENT)
    assert answer.body.startswith(b"EDEN-TICKET"), str(answer)
    return answer.body
