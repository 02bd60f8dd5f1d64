"""Encoder, decoder and client on three hosts, set up by the lines of docs/two-hosts.md, word for word.

By http, undisturbed and cut off in mid-transfer; EDEN_ALL_KINDS=1 takes every kind through every disturbance.
tests/contract/test_handoff_hosts.py has all of them in the ordinary suite, between processes that hand off.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from eden.random_weights import write_random
from server.settings import PROJECT
from tests.certificates import make_certificate
from tests.e2e.client_films import CLIP, look_at, write_film
from tests.hosts import Host, Network

PAGE = (PROJECT / "docs" / "two-hosts.md").read_text()
LINES = [line.strip() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
KINDS = ["http", "http by TLS", "websocket", "grpc", "zeromq", "zeromq by CURVE"]
ALL = bool(os.environ.get("EDEN_ALL_KINDS"))
SETUPS = KINDS if ALL else KINDS[:1]
DISTURBANCES = ["lossy", "slow", "cut", "cut for longer"] if ALL else ["cut"]
NOBODY = "http://192.0.2.9:3128"
"""A proxy that is not there: whoever takes the environment at its word comes to nothing."""
FRAMES = CLIP[:4]
PAYLOAD = 86_000
"""Bytes of a pair's tokens, of the network that is packed here."""


def line(start: str, having: str = "") -> str:
    """The page's line that starts so."""
    (found,) = {each for each in LINES if each.startswith(start) and having in each}
    return found


class TwoHosts:
    """Both servers and where the client runs."""

    def __init__(self, setup: str, network: Network, folder: Path) -> None:
        self.setup, self.network, self.folder = setup, network, folder
        self.encoder, self.decoder, self.client = network.hosts
        self.weights = folder / "weights"
        write_random(self.weights)
        if "TLS" in setup:
            self._certify()
        subprocess.run(["bash", "-euc", line("(umask 077;")], cwd=folder, check=True, timeout=60)

    def start(self) -> None:
        """As the page says, on both at the same time."""
        for host in (self.encoder, self.decoder):
            self._pack(host, line("./archive.sh", f"handoff.bind={host.address} "))
        starting = [self._server(host, line(".venv/bin/python -m server start")) for host in self._servers]
        for each in starting:
            told, _ = each.communicate(timeout=280)
            assert each.returncode == 0, told
        for host, name in ((self.encoder, "encoder-key.json"), (self.decoder, "decoder-key.json")):
            (self.folder / name).write_bytes((self._of(host) / "server" / "key_file.json").read_bytes())
        write_film(self.folder / "film.mp4", FRAMES)
        self.wanted = self.by_one_host()

    def start_without_bind(self) -> tuple[int, str]:
        """The exit code and the words of a start that leaves `handoff.bind` out; on a host that is free."""
        packing, left_out = re.subn(r"--set handoff\.bind=\S+ ", "", line("./archive.sh", "handoff.bind=192.0.2.1 "))
        assert left_out
        self._pack(self.client, packing)
        start = self._server(self.client, line(".venv/bin/python -m server start"))
        told, _ = start.communicate(timeout=280)
        return start.returncode, told

    def stop(self) -> None:
        stopping = [self._server(host, ".venv/bin/python -m server stop") for host in self._servers]
        for each in stopping:
            each.communicate(timeout=120)

    def interpolate(self, target: str = "smooth.mp4") -> subprocess.Popen[str]:
        """The page's command."""
        name, *arguments = shlex.split(line("eden-interpolate").replace("smooth.mp4", target))
        assert name == "eden-interpolate"
        command = self.client.command(sys.executable, "-m", "eden_client", *arguments)
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def by_one_host(self) -> list[bytes]:
        """The frames of the same film by the workflow of the encoder's host."""
        server = ["--server", "http://192.0.2.1:8080", "--key-file", "encoder-key.json", "--route", "workflow"]
        command = self.client.command(sys.executable, "-m", "eden_client", "film.mp4", "by-one-host.mp4", *server)
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=240)
        return frames_of(self.folder / "by-one-host.mp4")

    @property
    def _servers(self) -> Sequence[Host]:
        return self.encoder, self.decoder

    def _of(self, host: Host) -> Path:
        return self.folder / host.address

    def _certify(self) -> None:
        """A certificate per host that signs itself, so that the authority is both of them."""
        folders = [self._of(host) / "eden" for host in self._servers]
        for folder, host in zip(folders, self._servers, strict=True):
            folder.mkdir(parents=True)
            certificate, key = make_certificate(folder, host.address)
            certificate.rename(folder / "host.pem")
            key.rename(folder / "host.key")
        authority = "".join((folder / "host.pem").read_text() for folder in folders)
        for folder in folders:
            (folder / "authority.pem").write_text(authority)

    def _pack(self, host: Host, packing: str) -> None:
        kind, _, protection = self.setup.partition(" by ")
        words = shlex.split(packing.replace("--handoff http", f"--handoff {kind}"))
        if protection == "CURVE":
            words += shlex.split(line("--set handoff.curve"))
        if protection == "TLS":
            own = str(self._of(host) / "eden")
            words += shlex.split(line("--set handoff.tls_certificate").replace("/etc/eden", own))
        words += ["--output", str(self._of(host) / "store"), "--checkpoint", str(self.weights), "--in-place"]
        words += ["--set", "threads=1", "--batch-size", "1"]  # of which rounding depends
        built = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=240)
        assert built.returncode == 0, built.stdout + built.stderr

    def _server(self, host: Host, command: str) -> subprocess.Popen[str]:
        own = ["--folder", str(self._of(host) / "server")]
        if " start" in command:
            own += ["--model-store", str(self._of(host) / "store")]
        places = shlex.quote(str(self.folder)), shlex.quote(str(PROJECT))
        script = f"cd {places[0]}; {line('export')}; cd {places[1]}; {command} {shlex.join(own)}"
        names = [f"{kind}_proxy" for kind in ("http", "https", "all", "grpc")]
        proxies = dict.fromkeys([*names, *(name.upper() for name in names)], NOBODY)
        return subprocess.Popen(
            host.command("bash", "-euc", script),
            env=os.environ | proxies,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """For encoder, decoder and client."""
    try:
        hosts = Network(3)
    except OSError as error:
        pytest.skip(f"no hosts of their own here: network namespaces and TUN devices are not allowed ({error})")
    with hosts:
        yield hosts


@pytest.fixture(scope="module", params=SETUPS)
def hosts(
    request: pytest.FixtureRequest, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoHosts]:
    """Both serve."""
    two = TwoHosts(request.param, network, tmp_path_factory.mktemp("hosts"))
    try:
        two.start()
        yield two
    finally:
        two.stop()


def frames_of(film: Path) -> list[bytes]:
    return [frame.tobytes() for frame in look_at(film).frames]


def finished(client: subprocess.Popen[str], film: Path) -> list[bytes]:
    """The frames of a film that the client has made."""
    told, _ = client.communicate(timeout=240)
    assert client.returncode == 0, told
    return frames_of(film)


def test_a_film_by_two_hosts_is_the_film_by_one(hosts: TwoHosts) -> None:
    there, _ = hosts.network.between(hosts.encoder, hosts.decoder)
    before = there.passed
    assert finished(hosts.interpolate(), hosts.folder / "smooth.mp4") == hosts.wanted
    assert there.passed - before > PAYLOAD * (len(FRAMES) - 1)
    assert len(hosts.wanted) == 2 * len(FRAMES) - 1


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_a_film_is_whole_though_the_link_between_the_hosts_is_not(hosts: TwoHosts, disturbance: str) -> None:
    network, link = hosts.network, (hosts.encoder, hosts.decoder)
    there, _ = network.between(*link)
    lost = there.lost
    try:
        match disturbance:
            case "lossy":
                network.degrade(*link, delay_s=0.02, loss=0.01)
            case "slow":
                network.degrade(*link, rate=100_000)
            case "cut":
                network.cut_after(*link, PAYLOAD // 2, for_s=10)
            case "cut for longer":
                network.cut_after(*link, PAYLOAD // 2, for_s=40)  # timeout_s is 30
        target = f"{disturbance.replace(' ', '-')}.mp4"
        client = hosts.interpolate(target)
        assert finished(client, hosts.folder / target) == hosts.wanted
        assert "cut" not in disturbance or there.lost > lost
    finally:
        network.degrade(*link)
        network.mend(*link)


@pytest.mark.skipif(not ALL, reason="half a minute (EDEN_ALL_KINDS=1); test_handler_encoder.py is quicker")
def test_without_an_address_that_others_can_dial_the_encoder_does_not_start_and_says_so(hosts: TwoHosts) -> None:
    code, told = hosts.start_without_bind()
    assert code == 1
    assert "callers on other hosts get them (inference_address: 0.0.0.0): set handoff.bind" in told
    assert "handoff.advertise" in told
