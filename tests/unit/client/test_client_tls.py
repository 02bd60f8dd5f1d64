"""Encrypted calls, by HTTP and by gRPC: whose certificates count, and what is said of a token that travels in clear."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from eden_client import EdenClient, ServerLost, TokenInClear
from eden_client.api import grpc_route
from eden_client.api.routes import ENCODER
from eden_client.api.transport import pack
from eden_client.cli.main import main
from media import encode_image
from tests.certificates import make_certificate
from tests.key_files import write_key_file
from tests.unit.client.told import FRAMES, Told, between, mean, streamed

TOKEN = "inference-secret"


class GrpcStage(grpc.GenericRpcHandler):
    """TorchServe's gRPC inference service with both nodes of the chain; it keeps the tokens that it is sent."""

    def __init__(self, credentials: grpc.ServerCredentials | None) -> None:
        self.tokens: list[str] = []
        self._pool = ThreadPoolExecutor(2)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((self,))
        address = "127.0.0.1:0"
        port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def service(self, details):
        self.tokens += [value for name, value in details.invocation_metadata if name == "authorization"]
        kinds = {
            "request_deserializer": grpc_route._Request.FromString,
            "response_serializer": grpc_route._Response.SerializeToString,
        }
        if details.method.endswith("/Predictions"):
            return grpc.unary_unary_rpc_method_handler(self._encode, **kinds)
        return grpc.unary_stream_rpc_method_handler(self._decode, **kinds)

    def _encode(self, request, context):
        assert request.model_name == ENCODER
        return grpc_route._Response(prediction=b"EDEN-TICKET")

    def _decode(self, request, context):
        yield grpc_route._Response(prediction=streamed(between(pack(FRAMES[:2], "npy").body)))

    def close(self) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def authority(certificate) -> Path:
    """What a client has to trust: the certificate signs itself."""
    return certificate[0]


@pytest.fixture
def secure(certificate) -> Iterator[Told]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Told(context)
    yield server
    server.close()


@pytest.fixture
def secure_grpc(certificate) -> Iterator[GrpcStage]:
    signed, key = (file.read_bytes() for file in certificate)
    server = GrpcStage(grpc.ssl_server_credentials([(key, signed)]))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def assert_draws(server: str, **options) -> None:
    with EdenClient(server, token=TOKEN, **options) as client:
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), mean(*FRAMES[:2]))


# ---------------------------------------------------------------- whose certificates count


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_grpc_goes_by_tls_where_the_address_says_so(secure_grpc, authority, scheme):
    assert_draws(f"{scheme}://{secure_grpc.address}", route="grpc", ca_file=authority)
    assert secure_grpc.tokens == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize("scheme", ["", "grpc://", "http://"])
def test_grpc_goes_in_clear_where_it_does_not(scheme):
    server = GrpcStage(None)
    assert_draws(f"{scheme}{server.address}", route="grpc")
    server.close()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_environment_names_whom_to_trust(secure, secure_grpc, authority, monkeypatch, variable):
    monkeypatch.setenv(variable, str(authority))
    assert_draws(secure.url)
    assert_draws(f"grpcs://{secure_grpc.address}", route="grpc")


def test_what_is_named_counts_before_the_environment(secure, secure_grpc, authority, monkeypatch, tmp_path):
    other, _ = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert_draws(secure.url, ca_file=authority)
    assert_draws(f"grpcs://{secure_grpc.address}", route="grpc", ca_file=str(authority))


def test_a_server_that_is_not_trusted_hears_nothing(secure, secure_grpc):
    for server, route in ((secure.url, "workflow"), (f"grpcs://{secure_grpc.address}", "grpc")):
        with pytest.raises(ServerLost, match=r"certificate is not trusted \(self.signed certificate\); --ca-file"):
            assert_draws(server, route=route)
    assert not secure.paths and not secure_grpc.tokens


def test_another_hosts_certificate_is_not_a_matter_of_authorities(secure, authority):
    with pytest.raises(ServerLost, match="not trusted") as failed:
        assert_draws(secure.url.replace("127.0.0.1", "localhost"), ca_file=authority)
    assert "mismatch" in str(failed.value) and "--ca-file" not in str(failed.value)


def test_a_token_is_renewed_by_tls_too(secure, authority, tmp_path):
    key_file = write_key_file(tmp_path / "key_file.json", "old", 0)

    def renew(body):
        write_key_file(key_file, "new", 3600)
        return b"\n"

    for ca_file, told in ((None, "not trusted"), (authority, "no connection")):
        secure.answers = [renew]
        options = {"key_file": key_file, "management": secure.url, "ca_file": ca_file}
        with EdenClient("http://127.0.0.1:9", **options) as client, pytest.raises(ServerLost, match=told):
            client.interpolate_pair(*FRAMES[:2])
    assert secure.paths == ["/token?type=inference"]


def test_a_server_without_tls_is_told_from_one_that_is_away(told):
    with pytest.raises(ServerLost, match="does not speak TLS"):
        assert_draws(told.url.replace("http", "https"))


@pytest.mark.parametrize("content", [None, "", "no certificates"])
@pytest.mark.parametrize("route", ["workflow", "grpc"])
def test_a_file_that_holds_no_certificates_is_named(tmp_path, route, content):
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=r"authorities\.pem: not a file of PEM certificates"):
        EdenClient("https://127.0.0.1:1", route=route, ca_file=file)


def test_a_folder_of_certificates_is_not_for_grpc(tmp_path):
    EdenClient("https://127.0.0.1:1", ca_file=tmp_path).close()
    with pytest.raises(ValueError, match="is a folder"):
        EdenClient("https://127.0.0.1:1", route="grpc", ca_file=tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        *("dns:///127.0.0.1:7070", "unix:/run/eden", "unix:///run/eden", "ipv4:127.0.0.1:7070", "user@host:7070"),
        *("ftp://host:7070", "host:seven", "host:99999", "grpcs://", "host:7070/path"),
    ],
)
def test_an_address_that_is_none_for_grpc_is_refused(address):
    with pytest.raises(ValueError, match="no address for gRPC such as host:port"):
        EdenClient(address, route="grpc")


# ---------------------------------------------------------------- tokens in clear


@pytest.mark.parametrize(("server", "route"), [("http://eden.invalid", "auto"), ("eden.invalid:7070", "grpc")])
def test_a_token_in_clear_to_another_machine_is_warned_of(server, route):
    with pytest.warns(TokenInClear, match=rf"{server} travels unencrypted: use https"):
        EdenClient(server, route=route, token=TOKEN).close()


def test_so_is_the_key_that_renews_tokens(tmp_path):
    key_file = write_key_file(tmp_path / "key_file.json", "key", 3600)
    with pytest.warns(TokenInClear, match=r"http://eden\.invalid:8081"):
        EdenClient(key_file=key_file, management="http://eden.invalid:8081").close()


def test_so_is_that_of_the_second_server():
    with pytest.warns(TokenInClear, match=r"http://decoder\.invalid"):
        EdenClient(decoder_server="http://decoder.invalid", decoder_token=TOKEN).close()


def test_what_is_encrypted_or_stays_here_is_not_warned_of(recwarn, authority):
    for server in ("https://eden.invalid", "http://127.0.0.1:8080", "localhost", "http://[::1]:8080"):
        EdenClient(server, token=TOKEN).close()
    EdenClient("grpcs://eden.invalid:7070", route="grpc", token=TOKEN).close()
    EdenClient("http://eden.invalid").close()
    assert not recwarn.list


def test_the_command_says_so_once(tmp_path, capsys):
    (tmp_path / "shots").mkdir()
    for number, frame in enumerate(FRAMES):
        (tmp_path / f"shots/{number}.png").write_bytes(encode_image(frame, "png"))
    told = ["--server", "http://eden.invalid", "--token", TOKEN, "--plain"]
    assert main([str(tmp_path / "shots"), str(tmp_path / "film.mkv"), *told]) == 1
    said = capsys.readouterr().err
    assert said.count("the token for http://eden.invalid travels unencrypted") == 1 and TOKEN not in said
