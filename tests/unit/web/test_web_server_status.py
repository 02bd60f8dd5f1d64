"""What is told of the EDEN server."""

from __future__ import annotations

import socket

import pytest

from tests.nobody import nobody
from tests.unit.web.services import running
from web.schemas import Model
from web.server_status import Status, judged, look

UP, DOWN = Model("eden__encoder", 2, 1, 3), Model("eden__dit_decoder", 1, 0, 0)


@pytest.mark.parametrize(
    ("models", "draining", "status", "words"),
    [
        ([UP], False, "ready", "The server is ready."),
        ([UP, DOWN], False, "starting", "eden__dit_decoder has no worker up"),
        ([], False, "starting", "none of its models is up"),
        ([UP], True, "draining", "drain --cancel"),
    ],
)
def test_a_server_is_described_in_words(models, draining, status, words):
    told, message = judged(models, draining)
    assert told == status and words in message


def test_one_that_is_away_says_how_to_start_it(idle, film):
    idle.send_film(film)
    told = idle.get("/v1/server").json()
    assert (told["server"], told["status"], told["models"]) == ("http://127.0.0.1:9", "away", None)
    assert "make serve" in told["message"] and "--server" in told["message"]
    assert told["videos_waiting"] >= 1 and told["videos_in_progress"] == 0


def test_the_last_trouble_is_told(tmp_path, film):
    with nobody() as address:
        told = ("--server", f"http://{address}", "--token", "none")
        with running(tmp_path / "web", at_once=0, film_options=told) as visitor:
            place = visitor.upload(film.read_bytes())
            assert visitor.get("/v1/server").json()["trouble"] == []
            for _ in range(2):
                refused = visitor.get(f"{place}/pair/eden?at=0")
            trouble = visitor.get("/v1/server").json()["trouble"]
    assert refused.status_code == 503 and trouble == [refused.json()["message"]]


def test_a_rate_is_taken_over_a_while_and_begins_anew_with_the_server():
    status = Status(None, None)
    seen = [(10, 0), (12, 1), (30, 4), (31, 4.5), (5, 8), (9, 10), (None, 12), (20, 14)]
    assert [status.count(pairs, now) for pairs, now in seen] == [None, None, 5, 5, None, 2, None, None]


def test_one_of_another_machine_answers_or_does_not():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert look(address, None).status == "ready"  # by gRPC
    with nobody() as address:
        assert look(address, None).status == "away"
