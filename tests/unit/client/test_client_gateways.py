"""A gateway that answers in the server's place is waited for, from the first call on, as long as patience lasts."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import numpy as np
import pytest

from eden_client import EdenClient, ServerAway, ServerFailed, ServerLost
from eden_client.api import client as client_module
from eden_client.api.http_connection import retry_after
from tests.recorder import recorder
from tests.unit.client.told import FRAMES, between, envelope, mean

PAGE = b"<html>the server is away</html>"
AWAY = (429, 502, 503, 504)


class Pauses:
    """The client's pauses, which take no time here: they move its clock, and are kept."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.taken = 1000.0, list[float]()
        pauses = self

        class Event(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                assert timeout is not None
                pauses.taken.append(timeout)
                pauses.now += timeout
                return self.is_set()

        patch.setattr(client_module, "threading", SimpleNamespace(Event=Event))
        patch.setattr(client_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        patch.setattr(client_module, "uniform", lambda least, most: least)


@pytest.fixture
def pauses(monkeypatch):
    return Pauses(monkeypatch)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("status", "route", "before"),
    [(502, "auto", 0), (503, "workflow", 0), (504, "workflow", 1), (503, "auto", 1), (429, "auto", 0)],
)
def test_a_server_that_is_away_for_half_a_minute_is_waited_for(told, pauses, monkeypatch, status, route, before):
    known = told.known
    with EdenClient(told.url, route=route, patience=120) as client:
        for _ in range(before):
            client.interpolate_pair(*FRAMES[:2])
        back = pauses.now + 30
        told.draw = lambda body: between(body) if pauses.now >= back else (status, PAGE)
        monkeypatch.setattr(told, "known", lambda path: known(path) if pauses.now >= back else (status, PAGE))
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), mean(*FRAMES[:2]))
        assert client.traffic.retries == len(pauses.taken) > client_module.FAILURES
    assert pauses.now - back < client_module.LONGEST_PAUSE


def test_torchserve_that_answers_without_a_worker_is_waited_for_at_the_start(told, pauses):
    told.answers = [(503, envelope(503, "ServiceUnavailableException"))] * 8
    with EdenClient(told.url, route="workflow") as client:
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), mean(*FRAMES[:2]))


@pytest.mark.parametrize("status", AWAY)
def test_patience_with_a_gateway_ends(told, pauses, status):
    told.draw = lambda body: (status, PAGE)
    with EdenClient(told.url, route="workflow", patience=20) as client, pytest.raises(ServerAway, match=str(status)):
        client.interpolate_pair(*FRAMES[:2])
    assert 1020 < pauses.now <= 1020 + client_module.LONGEST_PAUSE


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_gateway_says_of_an_address_or_a_token_is_an_error_at_once(told, pauses, status):
    told.draw = lambda body: (status, PAGE)
    with EdenClient(told.url, route="workflow") as client, pytest.raises(ServerFailed, match=str(status)):
        client.interpolate_pair(*FRAMES[:2])
    assert not pauses.taken and len(told.paths) == 1


# ---------------------------------------------------------------- Retry-After


@pytest.mark.parametrize("answer", [(503, PAGE), (429, PAGE), (503, envelope(503, "OverCapacity", retry="later"))])
def test_a_retry_after_is_heeded(told, pauses, answer):
    told.answers = [(*answer, {"Retry-After": "17"}), (*answer, {"Retry-After": "0"})]
    with EdenClient(told.url, route="workflow") as client:
        client.interpolate_pair(*FRAMES[:2])
    assert pauses.taken == [17, 2 * client_module.FIRST_PAUSE]


@pytest.mark.parametrize("asked", ["86400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_ends_with_patience(told, pauses, asked):
    told.draw = lambda body: (503, PAGE, {"Retry-After": asked})
    with EdenClient(told.url, route="workflow", patience=20) as client, pytest.raises(ServerAway):
        client.interpolate_pair(*FRAMES[:2])
    assert pauses.taken[0] == 20 and len(told.paths) == 3  # once more at the end of the patience, once after it


def test_what_a_refusals_body_says_is_heeded_too(told, pauses):
    """In a workflow, and over gRPC, there are no headers of the server's own."""
    told.answers = [envelope(503, "OverCapacity", retry="later", retry_after=9)]
    told.answers += [(503, told.answers[0], {"Retry-After": "5"})]  # a gateway in between knows better
    told.answers += [envelope(503, "OverCapacity", retry="later", retry_after=wrong) for wrong in (-3, "9", 1e9, True)]
    with EdenClient(told.url, route="workflow") as client:
        client.interpolate_pair(*FRAMES[:2])
    assert pauses.taken == [9, 5, 1, 2, 4, 4]


def test_those_that_were_refused_together_do_not_come_back_together(told, pauses, monkeypatch):
    told.answers = [(503, envelope(503, "OverCapacity", retry="later"), {"Retry-After": "8"})]
    monkeypatch.setattr(client_module, "uniform", lambda least, most: most)
    with EdenClient(told.url, route="workflow") as client:
        client.interpolate_pair(*FRAMES[:2])
    assert pauses.taken == [8 * client_module.JITTER] == [10]


def test_a_retry_after_is_seconds_or_a_date():
    assert retry_after("120") == 120 and retry_after(" 7 ") == 7
    soon = datetime.now(UTC) + timedelta(seconds=3600)
    assert 3500 < retry_after(format_datetime(soon, usegmt=True)) <= 3600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == retry_after("Wed, 21 Oct 2015 07:28:00") == 0
    for nothing in (None, "", "soon", "-5", "1.5", "\u00b2", "Wed, 99 Oct 2015 07:28:00 GMT", "1 Jan 2030 0:0:0 +9999"):
        assert retry_after(nothing) is None


# ---------------------------------------------------------------- a proxy, which says it of a wrong address too


def test_a_proxy_that_cannot_reach_the_server_is_an_error_at_the_start(monkeypatch, pauses):
    with recorder() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with EdenClient("http://eden.invalid", route="workflow") as client:
            with pytest.raises(ServerLost) as failed:
                client.interpolate_pair(*FRAMES[:2])
            assert "502" in str(failed.value) and "HTTP_PROXY" in str(failed.value)
            assert len(proxy.heard) == 1 and not pauses.taken
            client._seen = True
            client._patience = 20
            with pytest.raises(ServerLost):
                client.interpolate_pair(*FRAMES[:2])
        assert pauses.now > 1020
