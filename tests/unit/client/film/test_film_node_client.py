"""Which server a node asks, and with which token: its own by its environment, else one that the command names."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest

from eden_client.film.cluster.node_client import NodeClient

NAMED = "http://a:1", "http://b:2"


def asked(server, token=None, key_file=None, seed=0):
    return server, token, key_file and str(key_file), seed


def node(token=None, key_file=None, servers=NAMED, folder=Path("/nowhere")):
    return pickle.loads(pickle.dumps(NodeClient(partial(asked, seed=5), servers, token, key_file, folder)))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("EDEN_SERVER", "EDEN_TOKEN", "EDEN_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_segments_take_the_servers_that_are_named_in_turn():
    assert [node("t")(number) for number in range(3)] == [
        ("http://a:1", "t", None, 5),
        ("http://b:2", "t", None, 5),
        ("http://a:1", "t", None, 5),
    ]


def test_a_node_s_own_server_comes_before_them(environment):
    environment.setenv("EDEN_SERVER", "http://own:3")
    assert node("t")(1) == ("http://own:3", "t", None, 5)
    environment.setenv("EDEN_KEY_FILE", "/own/key_file.json")
    assert node("t", Path("/named.json"))(1) == ("http://own:3", None, "/own/key_file.json", 5)
    environment.setenv("EDEN_TOKEN", "own")
    environment.delenv("EDEN_KEY_FILE")
    assert node("t", Path("/named.json"))(1) == ("http://own:3", "own", None, 5)


def test_a_server_started_beside_the_command_is_known_by_its_key_file(tmp_path):
    (tmp_path / "run/server").mkdir(parents=True)
    (tmp_path / "run/server/key_file.json").write_text("{}")
    (tmp_path / "run/server/config.properties").write_text("inference_address=http://127.0.0.1:9999\n")
    key_file = str(tmp_path / "run/server/key_file.json")
    assert node(servers=("http://127.0.0.1:9999",), folder=tmp_path)(0) == ("http://127.0.0.1:9999", None, key_file, 5)
    assert node(servers=NAMED, folder=tmp_path)(0) == ("http://a:1", None, None, 5)
    assert node(None, Path("/named.json"))(0) == ("http://a:1", None, "/named.json", 5)
