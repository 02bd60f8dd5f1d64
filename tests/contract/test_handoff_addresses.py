"""Where a producer listens and what it tells others to dial: families, names, proxies, what leads nowhere."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from handoff import NETWORK, Handoff, HandoffError, HandoffSettings, Unreachable, open_handoff
from tests.contract.peers import digest, make_output
from tests.recorder import recorder


def has_ipv6() -> bool:
    """Whether this machine's loopback has an address of that family."""
    with socket.socket(socket.AF_INET6) as probe, contextlib.suppress(OSError):
        probe.bind(("::1", 0))
        return True
    return False


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "grpc")]


@pytest.fixture(params=NETWORK)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> HandoffSettings:
    """Each kind whose consumers dial."""
    return changed(request.param, tmp_path)


def changed(kind: str, folder: Path, **changes: object) -> HandoffSettings:
    return HandoffSettings(kind=kind, folder=folder, shared_folder=folder, timeout_s=20, **changes)


def takes(producer: Handoff, consumer: Handoff, seed: int = 1) -> bool:
    """Whether a payload arrives."""
    return digest(consumer.take(producer.put(make_output(seed)))) == digest(make_output(seed))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", pytest.param("::1", marks=IPV6)])
def test_no_proxy_of_the_environment_is_asked(
    settings: HandoffSettings, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = host if ":" in host else "127.0.0.1"
    with recorder() as proxy, contextlib.ExitStack() as ends:
        for name in (*PROXIES, *(name.upper() for name in PROXIES)):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        own = changed(settings.kind, tmp_path, bind=bind, advertise=host)
        producer, consumer = (ends.enter_context(open_handoff(own)) for _ in range(2))
        assert takes(producer, consumer)
        assert proxy.heard == []


@IPV6
@pytest.mark.parametrize("bind", ["::1", "[::1]"])
def test_an_ipv6_address_is_one_with_brackets_or_without(settings: HandoffSettings, bind: str, tmp_path: Path) -> None:
    own = changed(settings.kind, tmp_path, bind=bind)
    with open_handoff(own) as producer, open_handoff(own) as consumer:
        assert producer.read(producer.put(make_output(0))).routes[0]["host"] == "::1"
        assert takes(producer, consumer)


@pytest.mark.parametrize("name", ["edge!host", "edge..host"])
def test_a_name_that_nobody_knows_is_named_on_both_sides(
    settings: HandoffSettings, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = changed(settings.kind, tmp_path, advertise=name)
    told = rf"'{name}', which tickets name \(handoff\.advertise\), is not to be found"
    with open_handoff(own) as producer, open_handoff(own) as consumer:
        for seed in range(2):
            with pytest.raises(Unreachable, match=told):
                takes(producer, consumer, seed)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and f"'{name}'" in warnings[0] and "handoff.advertise" in warnings[0]


def test_an_address_of_another_host_to_listen_on_is_named(settings: HandoffSettings, tmp_path: Path) -> None:
    own = changed(settings.kind, tmp_path, bind="192.0.2.77")
    with open_handoff(own) as producer:
        with pytest.raises(HandoffError, match=r"cannot listen on 192\.0\.2\.77 \(handoff\.bind\)"):
            producer.put(make_output(1))
        assert producer.in_flight() == 0


def test_loopback_in_a_ticket_of_another_host_is_dialled_only_where_it_was_asked_for(
    settings: HandoffSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = changed(settings.kind, tmp_path, advertise="127.0.0.1")
    with (
        open_handoff(settings) as unaware,
        open_handoff(tunnel) as knowing,
        open_handoff(settings) as consumer,
        open_handoff(changed("auto", tmp_path, bind="127.0.0.1")) as automatic,
    ):
        tickets = [each.put(make_output(1)) for each in (unaware, knowing)]
        assert consumer.take(unaware.put(make_output(2)))
        monkeypatch.setattr("handoff.transports.network.on_demand.loopback_id", lambda: "another host")
        with pytest.raises(Unreachable, match=r"names 127\.0\.0\.1, which is this one: .* set handoff\.advertise"):
            consumer.take(tickets[0])
        with pytest.raises(Unreachable, match=r"handoff\.advertise"):
            list(consumer.stream(tickets[0]))
        assert digest(consumer.take(tickets[1])) == digest(make_output(1))
        assert takes(automatic, automatic)  # by memory, which the two have in common


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bind": "0.0.0.0"}, r"bind is 0\.0\.0\.0: name the address that consumers dial as well \(advertise\)"),
        ({"bind": "::"}, r"bind is ::: .*\(advertise\)"),
        ({"bind": "[::]"}, r"bind is ::: .*\(advertise\)"),
        ({"bind": "192.0.2.1", "advertise": "0.0.0.0"}, r"advertise is 0\.0\.0\.0: .*\(advertise\)"),
    ],
)
def test_an_address_that_nobody_can_dial_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(HandoffError, match=message):
        HandoffSettings(kind="http", **changes)


@pytest.mark.parametrize("kind", sorted({*NETWORK} - {"nccl"}))  # whose groups want a network to be named
@pytest.mark.parametrize(("bind", "advertise"), [("0.0.0.0", "127.0.0.1"), pytest.param("::", "::1", marks=IPV6)])
def test_all_addresses_may_be_listened_on(kind: str, bind: str, advertise: str, tmp_path: Path) -> None:
    own = changed(kind, tmp_path, bind=bind, advertise=advertise)
    with open_handoff(own) as producer, open_handoff(own) as consumer:
        assert takes(producer, consumer)
