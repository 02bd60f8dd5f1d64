"""Progress as server-sent events."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.unit.web.services import LIMITS, PATIENCE, running
from web import events


@contextmanager
def following(visitor, last_id=None):
    """The events that come: (kind, id, data); a heartbeat is (None, None, None)."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with visitor.get("/v1/events", headers=headers, stream=True) as reply:
        assert reply.status_code == 200 and reply.headers["Content-Type"].startswith("text/event-stream")
        yield read(reply)


def read(reply):
    told = {}
    for line in reply.iter_lines(chunk_size=1):
        if line == b":":
            yield None, None, None
        elif line:
            name, _, value = line.decode().partition(": ")
            told[name] = value
        elif "event" in told:
            yield told["event"], told["id"], json.loads(told["data"])
            told = {}


def test_all_that_happens_to_a_film_is_told(visitor, film):
    with following(visitor) as come:
        id_ = visitor.send_film(film)["id"]
        states = []
        for kind, _, video in come:
            if kind == "video" and video["id"] == id_:
                states.append((video["status"], video["progress"]))
                if video["status"] == "completed":
                    break
        visitor.delete(f"/v1/videos/{id_}")
        assert next(each for each in come if each[0] == "deleted")[2] == {"id": id_}
    assert states[0] == ("queued", 0) and states[-1] == ("completed", 100)
    assert [status for status, _ in states].count("in_progress") >= 2  # begun, and under way


def test_who_comes_back_is_told_what_was_missed(idle, film):
    with following(idle) as come:
        first = idle.send_film(film)
        _, last_id, told = next(each for each in come if each[0])
        assert told["id"] == first["id"]
    missed = [idle.patch_video(first["id"], paused=paused).json()["paused"] for paused in (True, False, True)]
    with following(idle, last_id) as come:
        assert [next(come)[2]["paused"] for _ in missed] == missed


@pytest.mark.parametrize("last_id", ["ffffffff-1", "no", "-", "ffffffff-" + "9" * 99])
def test_who_missed_more_than_is_kept_is_told_to_list_anew(idle, film, last_id):
    with following(idle, last_id) as come:
        kind, id_, _ = next(come)
        assert kind == "reset"
        video = idle.send_film(film)
        assert next(each for each in come if each[0])[2]["id"] == video["id"]
    with following(idle, id_) as come:
        assert next(come)[2]["id"] == video["id"]


def test_only_so_many_events_are_kept(tmp_path, film, monkeypatch):
    monkeypatch.setattr(events, "KEPT", 3)
    with running(tmp_path / "web", at_once=0) as visitor:
        with following(visitor) as come:
            id_ = visitor.send_film(film)["id"]
            _, last_id, _ = next(each for each in come if each[0])
        for _ in range(4):
            visitor.patch_video(id_, position=0)
        with following(visitor, last_id) as come:
            assert next(come)[0] == "reset"


def test_a_heartbeat_where_nothing_happens(tmp_path):
    with running(tmp_path / "web", heartbeat_s=0.05) as visitor, following(visitor) as come:
        assert next(come) == next(come) == (None, None, None)


def test_streams_are_bounded_and_those_that_end_make_room(tmp_path):
    with running(tmp_path / "web", replace(LIMITS, event_streams=2), heartbeat_s=0.05) as visitor:
        with following(visitor) as one, following(visitor) as two:
            next(one), next(two)
            assert visitor.get("/v1/events").status_code == 503
        until = time.monotonic() + PATIENCE
        while True:
            with visitor.get("/v1/events", stream=True) as reply:
                if reply.status_code == 200:
                    break
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_service_that_ends_ends_its_streams(tmp_path):
    with running(tmp_path / "web") as visitor:
        reply = visitor.get("/v1/events", stream=True)
    assert list(read(reply)) == []  # to its last chunk: where it is cut off, this raises
