"""The network kinds between hosts: addresses of each family, late and lossy links, slow ones, and links that are cut.

Each kind has two hosts and a link of its own, so that all of them can be tried at the same time.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handoff import HandoffError, HandoffSettings, Unreachable
from handoff.key import FILE
from tests.contract.peers import Peer, digest, make_output
from tests.hosts import Host, Network

KINDS = ["http", "websocket", "grpc", "zeromq"]
SMALL = {"length": 2, "tokens": 12, "width": 10}
MIB = {"length": 2, "tokens": 512, "width": 127}
"""A payload of a little less than 1 MiB."""
PATIENT = {"timeout_s": 30.0}
"""What the documentation gives."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Two hosts per kind."""
    try:
        hosts = Network(2 * len(KINDS))
    except OSError as error:
        pytest.skip(f"no hosts of their own here: network namespaces and TUN devices are not allowed ({error})")
    with hosts:
        yield hosts


class Pair:
    """A producer and a consumer on two hosts, which share the key and nothing else."""

    def __init__(self, kind: str, hosts: tuple[Host, Host], folder: Path, family: str, changes: dict[str, Any]) -> None:
        self.kind = kind
        self.hosts = hosts
        self.peers: list[Peer] = []
        for host, name in zip(hosts, ("producer", "consumer"), strict=True):
            own = folder / name
            own.mkdir(parents=True)
            (own / FILE).write_text("carried by the operator's hand")
            address = host.address if family == "IPv4" else host.address6
            settings = {"kind": kind, "bind": address} | PATIENT | changes
            settings = HandoffSettings(folder=own, shared_folder=own, **settings)
            self.peers.append(Peer(settings, host=host))
        self.producer, self.consumer = self.peers

    def start(self, **spec: Any) -> None:
        """Begin to take a payload."""
        self.wanted = digest(make_output(**spec))
        self.consumer.start("take", self.producer.ask("put", **spec))

    def arrived(self) -> bool:
        """Whether it is all there, bit for bit, and the producer knows. Raises what the consumer met."""
        return bool(self.consumer.answer(240) == self.wanted and self.producer.ask("in_flight") == 0)


MakePairs = Callable[..., list[Pair]]


@pytest.fixture
def pairs(network: Network, tmp_path: Path) -> Iterator[MakePairs]:
    """Makes a pair of each kind; the links are as new before and after."""
    made: list[Pair] = []
    folders = (tmp_path / str(number) for number in itertools.count())

    def make(kinds: list[str] = KINDS, family: str = "IPv4", **changes: Any) -> list[Pair]:
        folder = next(folders)
        hosts = list(zip(network.hosts[::2], network.hosts[1::2], strict=True))
        new = [Pair(kind, hosts[i], folder / kind, family, changes) for i, kind in enumerate(kinds)]
        made.extend(new)
        return new

    yield make
    for pair in made:
        network.mend(*pair.hosts)
        network.degrade(*pair.hosts)
        for peer in pair.peers:
            peer.kill()


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_payload_goes_from_host_to_host_and_its_producer_hears_of_it(pairs: MakePairs, family: str) -> None:
    for pair in pairs(family=family):
        for seed in (1, 2):  # the second by a connection that was kept
            pair.start(seed=seed, **SMALL)
            assert pair.arrived(), pair.kind


def test_with_20_ms_and_a_hundredth_of_all_packets_lost(pairs: MakePairs, network: Network) -> None:
    every = pairs()
    for pair in every:
        network.degrade(*pair.hosts, delay_s=0.02, loss=0.01)
        pair.start(seed=1, **MIB)
    assert [pair.arrived() for pair in every] == [True] * len(KINDS)
    assert sum(link.lost for pair in every for link in network.between(*pair.hosts)) > 0


def test_a_link_that_is_cut_for_10_s_in_the_middle_of_a_payload_delays_it(pairs: MakePairs, network: Network) -> None:
    every = pairs()
    there = [network.between(*pair.hosts)[0] for pair in every]
    lost = [link.lost for link in there]
    for pair in every:
        network.cut_after(*pair.hosts, 200_000, for_s=10)
        pair.start(seed=1, **MIB)
    assert [pair.arrived() for pair in every] == [True] * len(KINDS)
    assert [link.lost > before for link, before in zip(there, lost, strict=True)] == [True] * len(KINDS)


def test_one_that_is_cut_for_longer_ends_the_take_and_the_next_one_succeeds(pairs: MakePairs, network: Network) -> None:
    every = pairs(timeout_s=10.0)
    for pair in every:
        network.cut_after(*pair.hosts, 200_000)
        pair.start(seed=1, **MIB)
    for pair in every:
        with pytest.raises(HandoffError) as met:
            pair.arrived()
        assert type(met.value).__name__ in ("HandoffTimeout", "PeerLost"), pair.kind
        network.mend(*pair.hosts)
    for pair in every:
        pair.start(seed=2, **SMALL)
        assert pair.consumer.answer() == pair.wanted, pair.kind


def test_a_slow_link_may_take_longer_than_the_time_that_it_may_be_silent(pairs: MakePairs, network: Network) -> None:
    every = pairs(timeout_s=5.0)
    began = time.monotonic()
    for pair in every:
        network.degrade(*pair.hosts, rate=500_000)
        pair.start(seed=1, **MIB | {"length": 8})  # 4 MiB: 8 s, and 1 s per frame
    assert [pair.arrived() for pair in every] == [True] * len(KINDS)
    assert time.monotonic() - began > 5


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
def test_a_ticket_that_names_its_own_hosts_loopback_is_refused_and_the_setting_named(
    pairs: MakePairs, kind: str
) -> None:
    (pair,) = pairs([kind], bind="127.0.0.1")
    pair.start(seed=1, **SMALL)
    with pytest.raises(Unreachable, match=r"names 127\.0\.0\.1, which is this one: .* set handoff\.advertise"):
        pair.arrived()


def test_auto_goes_on_by_http_where_no_memory_is_shared(pairs: MakePairs) -> None:
    (pair,) = pairs(["auto"])
    pair.start(seed=1, **SMALL)
    assert pair.arrived()
    counted = pair.consumer.ask("counters")
    assert (counted["fallback", "shared_memory"], counted["take", "http"]) == (1, 1)


def test_shared_memory_of_another_host_is_said_to_be_just_that(pairs: MakePairs) -> None:
    (pair,) = pairs(["shared_memory"])
    pair.start(seed=1, **SMALL)
    with pytest.raises(Unreachable, match="in the shared memory of another machine"):
        pair.arrived()


def test_inline_takes_as_many_as_callers_bring_though_no_producer_hears_of_it(pairs: MakePairs) -> None:
    (pair,) = pairs(["inline"], max_in_flight=4)
    for seed in range(12):
        ticket = pair.producer.ask("put", by_caller=True, seed=seed, **SMALL)
        assert pair.consumer.ask("take", ticket) == digest(make_output(seed=seed, **SMALL))
