"""A server's configuration and ports."""

import socket

import pytest

from server import Server
from server.settings import CONFIG, PROJECT, Ports, configuration, dialled, read_properties, write_properties


def test_properties_are_read_as_they_were_written(tmp_path):
    write_properties(tmp_path / "a", {"address": "http://127.0.0.1:1", "on": True, "count": 3, "list": "a=b,c"})
    assert read_properties(tmp_path / "a") == {
        "address": "http://127.0.0.1:1",
        "on": "true",
        "count": "3",
        "list": "a=b,c",
    }


def test_comments_and_javas_escapes_are_understood(tmp_path):
    (tmp_path / "a").write_text("#Saving snapshot\n! also\n\nmanagement_address=http\\://127.0.0.1\\:8081\n a = b \n")
    assert read_properties(tmp_path / "a") == {"management_address": "http://127.0.0.1:8081", "a": "b"}


def test_the_projects_configuration_is_safe_and_whole():
    properties = read_properties(CONFIG)
    assert properties["disable_token_authorization"] == "false"
    assert all("127.0.0.1" in value for key, value in properties.items() if key.endswith("_address"))
    assert int(properties["number_of_netty_threads"]) >= 2
    assert (PROJECT / properties["metrics_config"]).exists()
    assert Ports.of(properties) == Ports(8080, 8081, 8082, 7070, 7071, 8083)


def test_a_servers_own_ports_and_changes_replace_the_projects():
    ports = Ports(1, 2, 3, 4, 5, 6)
    mine = configuration(ports, {"disable_token_authorization": True})
    assert Ports.of(mine) == ports
    assert mine["disable_token_authorization"] == "true"
    assert mine["metrics_config"] == str(PROJECT / "server" / "metrics.yaml")
    assert mine["load_models"] == "autostart.mar"


def test_without_an_address_for_health_there_is_no_port_for_it():
    assert Ports.of(configuration(None, {"health_address": ""})).health is None
    assert Ports.of(configuration(Ports(1, 2, 3, 4, 5), {})).all() == [1, 2, 3, 4, 5]


def test_free_ports_are_six_different_free_ones_and_a_taken_one_is_noticed():
    ports = Ports.free()
    assert len(set(ports.all())) == 6
    assert ports.taken() == []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports.metrics))
        listener.listen()
        assert ports.taken() == [ports.metrics]


AWKWARD = ["Größe 日本 😀", "C:\\new\\u0041", "  two spaces ", "a=b:c#d!e", "tab\tline\nend\rfeed\f", "/tmp/a%20b/ü"]


def test_awkward_values_are_read_as_they_were_written(tmp_path):
    written = {f"key{number}": value.rstrip(" ") for number, value in enumerate(AWKWARD)}
    write_properties(tmp_path / "a", written)
    assert (tmp_path / "a").read_bytes().isascii()  # whatever the reader takes its encoding for
    assert read_properties(tmp_path / "a") == written


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_a_server_is_called_where_it_listens(address, url, tmp_path):
    assert dialled(address) == url
    assert Server(folder=tmp_path, config={"inference_address": address}).url == url
