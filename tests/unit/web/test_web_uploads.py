"""Resumable uploads by tus, and their bounds."""

from __future__ import annotations

import base64
import os
import socket
import time
from dataclasses import replace

import pytest

from tests.unit.web.services import LIMITS, PATIENCE, running
from web.app import Service
from web.settings import Settings

TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream"}


def begin(visitor, length, name="a film.mp4"):
    told = f"filename {base64.b64encode(name.encode()).decode()},filetype dmlkZW8vbXA0"
    reply = visitor.post("/v1/uploads", headers=TUS | {"Upload-Length": str(length), "Upload-Metadata": told})
    assert reply.status_code == 201 and reply.headers["Tus-Resumable"] == "1.0.0"
    return reply.headers["Location"]


def send(visitor, place, offset, data, **headers):
    return visitor.patch(place, data=data, headers=CHUNK | {"Upload-Offset": str(offset)} | headers)


def offset_of(visitor, place):
    reply = visitor.head(place, headers=TUS)
    assert reply.status_code == 200 and reply.headers["Cache-Control"] == "no-store"
    return int(reply.headers["Upload-Offset"])


def test_what_is_offered(idle):
    reply = idle.options("/v1/uploads")
    assert reply.status_code == 204 and reply.headers["Tus-Version"] == "1.0.0"
    assert reply.headers["Tus-Extension"] == "creation,termination"
    assert reply.headers["Tus-Max-Size"] == str(LIMITS.upload_bytes)


def test_a_film_in_parts_becomes_a_video(idle, film):
    data = film.read_bytes()
    place = begin(idle, len(data), "\N{CLAPPER BOARD} <b>.mp4")
    assert offset_of(idle, place) == 0
    assert send(idle, place, 0, data[:1000]).headers["Upload-Offset"] == "1000"
    id_ = place.rpartition("/")[2]
    early = idle.post("/v1/videos", json={"upload": id_})
    assert early.status_code == 409 and f"1000 of {len(data)}" in early.json()["message"]
    assert send(idle, place, 1000, data[1000:]).status_code == 204
    video = idle.post("/v1/videos", json={"upload": id_, "options": {"fps": "60"}}).json()
    assert (video["name"], video["options"]["fps"]) == ("\N{CLAPPER BOARD} <b>.mp4", "60")
    assert (idle.folder / "uploads" / id_).read_bytes() == data
    assert idle.delete(place, headers=TUS).status_code == 409  # a video is still to be made of it
    idle.patch_video(video["id"], status="cancelled")
    assert idle.delete(place, headers=TUS).status_code == 204
    assert idle.head(place, headers=TUS).status_code == 404
    assert idle.patch_video(video["id"], status="queued").status_code == 404


def test_what_came_before_the_connection_broke_is_there(idle):
    place = begin(idle, 10_000)
    host, _, port = idle.url.removeprefix("http://").partition(":")
    head = (
        f"PATCH {place} HTTP/1.1\r\nHost: {host}:{port}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: 10000\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as broken:
        broken.sendall(head.encode() + b"x" * 4000)
        until = time.monotonic() + PATIENCE
        while offset_of(idle, place) < 4000:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert send(idle, place, 4000, b"y").status_code == 423  # the other one is still sending
    while (reply := send(idle, place, 4000, b"y" * 6000)).status_code == 423:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert reply.headers["Upload-Offset"] == "10000"
    assert (idle.folder / "uploads" / place.rpartition("/")[2]).read_bytes() == b"x" * 4000 + b"y" * 6000


def test_a_method_may_be_named_by_a_header(idle):
    place = begin(idle, 4)
    headers = CHUNK | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert idle.post(place, data=b"abcd", headers=headers).headers["Upload-Offset"] == "4"
    assert idle.post(place, headers=TUS).status_code == 405


@pytest.mark.parametrize(
    ("offset", "data", "headers", "status"),
    [
        (1, b"x", {}, 409),
        (0, b"x" * 11, {}, 413),
        (0, b"x", {"Content-Type": "video/mp4"}, 415),
        (0, b"x", {"Tus-Resumable": "0.2.2"}, 412),
        (0, b"x", {"Upload-Offset": "-1"}, 400),
        (0, b"x", {"Upload-Offset": "1e3"}, 400),
    ],
)
def test_a_part_that_is_refused_leaves_the_upload_as_it_was(idle, offset, data, headers, status):
    place = begin(idle, 10)
    assert send(idle, place, offset, data, **headers).status_code == status
    assert offset_of(idle, place) == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 412),
        (TUS, 400),
        (TUS | {"Upload-Length": "many"}, 400),
        (TUS | {"Upload-Length": "1", "Upload-Metadata": "filename !"}, 400),
        (TUS | {"Upload-Length": "1", "Upload-Metadata": f"x {'A' * 8000}"}, 400),
        (TUS | {"Upload-Length": str(LIMITS.upload_bytes + 1)}, 413),
        (TUS | {"Upload-Length": "9" * 400}, 400),
    ],
)
def test_an_upload_that_is_not_begun(idle, headers, status):
    before = {*(idle.folder / "uploads").iterdir()}
    assert idle.post("/v1/uploads", headers=headers).status_code == status
    assert {*(idle.folder / "uploads").iterdir()} == before


@pytest.mark.parametrize(
    ("bounds", "lengths"),
    [({"uploads": 2}, [1, 1, 1]), ({"upload_total_bytes": 100}, [60, 60]), ({"reserve_bytes": 1 << 60}, [1])],
)
def test_number_sum_and_disk_are_bounded(tmp_path, bounds, lengths):
    with running(tmp_path / "web", replace(LIMITS, **bounds), at_once=0) as visitor:
        replies = [
            visitor.post("/v1/uploads", headers=TUS | {"Upload-Length": str(length)}).status_code for length in lengths
        ]
    assert replies == [201] * (len(lengths) - 1) + [507]


def test_what_is_announced_counts_against_the_disk(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    limits = replace(LIMITS, upload_bytes=free, upload_total_bytes=10 * free, reserve_bytes=free // 4)
    with running(tmp_path / "web", limits, at_once=0) as visitor:
        lengths = [str(free // 2), str(free // 2)]
        replies = [visitor.post("/v1/uploads", headers=TUS | {"Upload-Length": length}) for length in lengths]
    assert [reply.status_code for reply in replies] == [201, 507]


def test_what_is_old_is_removed_unless_it_is_needed(tmp_path, film):
    with running(tmp_path / "web", at_once=0) as visitor:
        needed, ended = visitor.send_film(film), visitor.send_film(film)
        visitor.patch_video(ended["id"], status="cancelled")
        (tmp_path / "web" / "uploads" / "astray").touch()
        (tmp_path / "web" / "videos" / "astray").mkdir()
    service = Service(Settings(tmp_path / "web", limits=replace(LIMITS, keep_s=3600)))
    try:
        for later, left in ((1800, [needed, ended]), (7200, [needed])):
            service.sweep(time.time() + later)
            assert {path.name for path in (tmp_path / "web" / "uploads").iterdir()} == {each["upload"] for each in left}
            assert {path.name for path in (tmp_path / "web" / "videos").iterdir()} == {each["id"] for each in left}
    finally:
        service.close()
