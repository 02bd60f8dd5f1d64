"""A token, and all the more the key that renews tokens, goes to the server that it belongs to and to no other."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eden_client import EdenClient, EdenError, ServerFailed, ServerLost, TokenInClear, TokenRejected
from eden_client.api.grpc_route import GrpcConnection
from eden_client.api.local import local_key_file, local_server
from eden_client.api.sessions import is_loopback
from eden_client.api.tokens import FixedToken
from eden_client.api.traffic import Traffic
from eden_client.cli.main import main
from media import encode_image
from tests.key_files import write_key_file
from tests.recorder import Recorder, recorder, redirect
from tests.unit.client.told import Told

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
SECRETS = b"inference-secret", b"admin-secret"
VARIABLES = [f"{kind}_proxy" for kind in ("http", "https", "all", "grpc", "no")]
REFUSAL = json.dumps({"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed"}).encode()
REFUSED = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(REFUSAL), REFUSAL)

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def write_keys(folder: Path, seconds: float = 3600) -> Path:
    return write_key_file(folder / "key_file.json", "inference-secret", seconds, api="admin-secret")


def write_configuration(file: Path, inference: int, management: int, grpc: int, host: str = "127.0.0.1") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"inference_address=http\\://{host}\\:{inference}\nmanagement_address=http\\://{host}\\:{management}\n"
        f"grpc_inference_address={host}\ngrpc_inference_port={grpc}\n"
    )


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for number, frame in enumerate(FRAMES):
        (folder / f"{number}.png").write_bytes(encode_image(frame, "png"))
    return folder


@contextlib.contextmanager
def neighbours() -> Iterator[tuple[Recorder, Recorder]]:
    """Two servers on ports that follow each other: the second is where a convention puts the management interface."""
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            first = stack.enter_context(recorder(answer=REFUSED))
            with contextlib.suppress(OSError, OverflowError):  # that port is taken, or there is none
                second = stack.enter_context(recorder(first.port + 1))
                break
        yield first, second


def secrets_in(heard: list[bytes]) -> list[bytes]:
    return [said for said in heard if any(secret in said for secret in SECRETS)]


# ---------------------------------------------------------------- which server a key file belongs to


@pytest.mark.parametrize(
    ("folder", "configuration"),
    [
        ("run/server", "run/server/.eden-server/config.properties"),
        (".", "config.properties"),
        (".", "logs/config/20260101-shutdown.cfg"),
    ],
)
def test_a_key_file_is_that_of_the_server_in_its_folder(tmp_path, folder, configuration):
    key_file = write_keys(tmp_path / folder)
    assert local_key_file("http://127.0.0.1:9000", tmp_path) is None  # nothing says whose it is
    write_configuration(tmp_path / configuration, 9000, 9300, 9400)
    for own in ("http://127.0.0.1:9000", "127.0.0.1:9000/", "http://localhost:9000", "127.0.0.1:9400"):
        assert local_key_file(own, tmp_path) == key_file
    for other in ("10.0.0.5:9000", "http://eden.example:9000", "127.0.0.1:9001", "127.0.0.1", "127.0.0.2:9000", "x:y"):
        assert local_key_file(other, tmp_path) is None
    assert local_server(key_file).management == "http://127.0.0.1:9300"
    key_file.unlink()
    assert local_key_file("http://127.0.0.1:9000", tmp_path) is None


def test_a_server_on_all_interfaces_is_reached_by_loopback(tmp_path):
    key_file = write_keys(tmp_path)
    write_configuration(tmp_path / "config.properties", 9000, 9300, 9400, host="0.0.0.0")
    assert local_key_file("http://127.0.0.1:9000", tmp_path) == key_file
    assert local_server(key_file).management == "http://127.0.0.1:9300"


# ---------------------------------------------------------------- what a server that it does not belong to hears


@pytest.mark.parametrize("seconds", [3600, 0], ids=["good", "expired"])
def test_the_command_gives_nothing_to_another_server(tmp_path, monkeypatch, capsys, seconds):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDEN_TOKEN", raising=False)
    shots = pictures(tmp_path / "shots")
    write_keys(tmp_path / "run/server", seconds)
    with neighbours() as (stranger, beside), recorder(answer=REFUSED) as own:
        write_configuration(tmp_path / "run/server/.eden-server/config.properties", own.port, 1, 2)
        assert main([str(shots), "out/", "--cuts", "off", "--server", stranger.url]) == 1
        assert stranger.heard and secrets_in(stranger.heard + beside.heard) == []
        said = capsys.readouterr().err
        assert "--token" in said and "EDEN_TOKEN" in said and "--key-file" in said
        if seconds:
            assert main([str(shots), "out/", "--cuts", "off", "--server", own.url]) == 1  # it does get its own
            assert secrets_in(own.heard)


def test_a_key_file_that_was_named_for_another_server_is_never_renewed_by_a_guess(tmp_path):
    key_file = write_keys(tmp_path, 0)
    with neighbours() as (stranger, beside):
        write_configuration(tmp_path / "config.properties", 1, beside.port, 2)
        with EdenClient(stranger.url, key_file=key_file) as client, pytest.raises(TokenRejected, match="--management"):
            client.interpolate_pair(*FRAMES)
        assert b"inference-secret" in stranger.heard[0]  # as it was told to
        assert not any(b"admin-secret" in said for said in stranger.heard)
        assert beside.heard == []


def test_a_key_file_of_the_server_itself_is_renewed_where_that_says(tmp_path):
    key_file = write_keys(tmp_path, 0)
    with recorder() as own, recorder() as management:
        write_configuration(tmp_path / "config.properties", own.port, management.port, 2)
        with EdenClient(own.url, key_file=key_file) as client, pytest.raises(TokenRejected, match="502 Bad Gateway"):
            client.interpolate_pair(*FRAMES)
        assert b"admin-secret" in management.heard[0] and own.heard == []


def test_no_token_follows_a_redirect(tmp_path):
    with recorder() as elsewhere, recorder(answer=redirect(elsewhere.url)) as own:
        with EdenClient(own.url, token="inference-secret") as client, pytest.raises(ServerFailed, match="307"):
            client.interpolate_pair(*FRAMES)
        with (
            EdenClient(own.url, key_file=write_keys(tmp_path, 0), management=own.url) as client,
            pytest.raises(TokenRejected, match="cannot be renewed"),
        ):
            client.interpolate_pair(*FRAMES)
        assert len(secrets_in(own.heard)) == 2
        assert elsewhere.heard == []


def test_the_second_server_hears_nothing_of_the_firsts_token(tmp_path):
    for secret in ({"token": "inference-secret"}, {"key_file": write_keys(tmp_path)}):
        encoder, decoder = Told(), Told()
        encoder.answers, decoder.answers = [b"EDEN-TICKET"], [(404, b"")]
        with EdenClient(encoder.url, decoder_server=decoder.url, **secret) as client, pytest.raises(ServerFailed):
            client.interpolate_pair(*FRAMES)
        assert (encoder.tokens, decoder.tokens) == (["Bearer inference-secret"], [None])
        encoder.close()
        decoder.close()


@pytest.mark.parametrize(("token", "expected"), [(None, []), ("inference-secret", [b"Bearer inference-secret"])])
def test_what_a_netrc_says_goes_nowhere(tmp_path, monkeypatch, token, expected):
    (tmp_path / "netrc").write_text("default login me password netrc-secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with recorder() as proxy, recorder(answer=NOT_FOUND) as own:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        for server in (own.url, "http://eden.invalid"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TokenInClear)
                client = EdenClient(server, token=token)
            with client, pytest.raises(EdenError):
                client.interpolate_pair(*FRAMES)
        for (said,) in (own.heard, proxy.heard):
            assert re.findall(rb"(?i)authorization: ([^\r]*)", said) == expected


# ---------------------------------------------------------------- proxies


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1.2.3",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "localhost",
        "localhost.",
        "a.localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_this_machine_is_known_in_all_its_spellings(host):
    assert is_loopback(f"http://{host}:8080") and is_loopback(f"{host}:8080")


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "128.0.0.1",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "[::ffff:10.0.0.1]",
        "[::2]",
        "",
        "127.0.0.1@eden.example",
    ],
)
def test_other_machines_are_not_it(host):
    assert not is_loopback(f"http://{host}:8080")


def test_another_spelling_goes_by_no_proxy_either(monkeypatch):
    with recorder() as proxy, recorder(answer=NOT_FOUND) as own:
        monkeypatch.setenv("http_proxy", proxy.url)
        with EdenClient(f"http://127.1:{own.port}", token="inference-secret") as client, pytest.raises(ServerFailed):
            client.interpolate_pair(*FRAMES)
        assert secrets_in(own.heard) and not proxy.heard


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_loopback_is_never_reached_by_a_proxy(tmp_path, monkeypatch, name):
    with recorder() as proxy, recorder(answer=NOT_FOUND) as own:
        monkeypatch.setenv(name, proxy.url)
        for server in (own.url, f"http://localhost:{own.port}"):
            with EdenClient(server, token="inference-secret") as client, pytest.raises(ServerFailed) as failed:
                client.interpolate_pair(*FRAMES)
            assert "PROXY" not in str(failed.value)
        with (
            EdenClient(own.url, key_file=write_keys(tmp_path, 0), management=own.url) as client,
            pytest.raises(TokenRejected),
        ):
            client.interpolate_pair(*FRAMES)
        assert len(secrets_in(own.heard)) == 3 and proxy.heard == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_another_machine_is_reached_by_the_proxy_which_is_named_if_that_fails(monkeypatch, name):
    with recorder() as proxy:
        monkeypatch.setenv(name, proxy.url)
        with EdenClient("http://eden.invalid") as client, pytest.raises(ServerLost, match=rf"502.*{name}.*NO_PROXY"):
            client.interpolate_pair(*FRAMES)
        assert proxy.heard
    with EdenClient("http://eden.invalid") as client, pytest.raises(ServerLost, match=f"no connection.*{name}"):
        client.interpolate_pair(*FRAMES)
    monkeypatch.setenv("NO_PROXY", "eden.invalid")
    with EdenClient("http://eden.invalid") as client, pytest.raises(ServerLost) as failed:
        client.interpolate_pair(*FRAMES)
    assert "PROXY" not in str(failed.value).upper()


def test_grpc_goes_by_a_proxy_only_to_other_machines(monkeypatch):
    with recorder() as proxy, recorder() as own:
        monkeypatch.setenv("http_proxy", proxy.url)
        for target, note in ((f"127.0.0.1:{own.port}", ""), ("eden.invalid:7070", "http_proxy names a proxy")):
            calls = GrpcConnection(target, FixedToken("inference-secret"), Traffic())
            with pytest.raises(EdenError) as failed:
                calls.call("model", {}, 20)
            calls.close()
            assert note in str(failed.value)
            assert bool(proxy.heard) == bool(note)
        assert own.heard
