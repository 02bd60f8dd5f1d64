"""What a service refuses, and what each of its answers carries."""

from __future__ import annotations

import http.client
import os
import socket
import stat
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.unit.web.services import LIMITS, PATIENCE, running
from web import __main__ as command
from web.__main__ import main
from web.idle import patient_protocol
from web.security import HEADERS, is_loopback

TOKEN = "a-token-of-a-test-0123456789"


def status_of(visitor, method="GET", path="/v1/videos", **headers):
    """With exactly these headers, whatever a library would add."""
    place = visitor.url.removeprefix("http://")
    connection = http.client.HTTPConnection(place, timeout=PATIENCE)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in ({"Host": place} | headers).items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("[::1]:8008", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:80@127.0.0.1x", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_names_that_are_its_own(idle, host, status):
    assert status_of(idle, Host=host) == status


def test_another_name_can_be_allowed(tmp_path):
    with running(tmp_path / "web", at_once=0, allowed_hosts=("Films.example",)) as visitor:
        assert [status_of(visitor, Host=host) for host in ("films.example:80", "other.example")] == [200, 421]


@pytest.mark.parametrize(
    ("headers", "read", "changed"),
    [
        ({}, 200, 412),
        ({"Sec_Fetch_Site": "same-origin"}, 200, 412),
        ({"Sec_Fetch_Site": "none"}, 200, 412),
        ({"Sec_Fetch_Site": "same-site"}, 200, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403, 403),
        ({"Origin": "http://{host}"}, 200, 412),
        ({"Origin": "http://evil.example"}, 200, 403),
        ({"Origin": "null"}, 200, 403),
        ({"Origin": "http://{host}.evil.example"}, 200, 403),
        ({"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"}, 200, 403),
    ],
)
def test_other_sites_change_nothing(idle, headers, read, changed):
    host = idle.url.removeprefix("http://")
    headers = {name: value.format(host=host) for name, value in headers.items()}
    assert status_of(idle, **headers) == read
    assert status_of(idle, "POST", "/v1/uploads", Content_Length="0", **headers) == changed


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_no_method_that_changes_something_comes_from_elsewhere(idle, method):
    path = f"/v1/videos/{'0' * 32}"
    assert status_of(idle, method, path, Content_Length="0", Origin="http://evil.example") == 403


def test_a_token_is_asked_for_everywhere(tmp_path):
    with running(tmp_path / "web", at_once=0, token=TOKEN) as visitor:
        described = visitor.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
        for path in ("/v1/videos", "/v1/events", "/openapi.json", f"/v1/videos/{'0' * 32}/content", "/nowhere"):
            for given in (
                None,
                "",
                "Bearer",
                f"Bearer {TOKEN}x",
                f"Bearer {TOKEN[:-1]}",
                f"Basic {TOKEN}",
                "Bearer \xe9",
            ):
                assert status_of(visitor, path=path, Authorization=given) == 401, given
        assert status_of(visitor, Authorization=f"bearer {TOKEN}") == 200
        assert described["security"] == [{"token": []}, {"session": []}]


def test_a_browser_tells_the_token_once_and_carries_a_cookie_then(tmp_path):
    with running(tmp_path / "web", at_once=0, token=TOKEN) as visitor:
        for wrong in ("", TOKEN[:-1], TOKEN + "x", "\xe9"):
            refused = visitor.post("/v1/session", json={"token": wrong})
            assert refused.status_code == 401 and "Set-Cookie" not in refused.headers
        begun = visitor.post("/v1/session", json={"token": TOKEN})
        told = begun.headers["Set-Cookie"]
        assert begun.status_code == 204 and TOKEN not in told
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {each.strip() for each in told.split(";")}
        cookie = told.partition(";")[0]
        visitor.cookies.clear()
        assert status_of(visitor, Cookie=cookie) == status_of(visitor, Authorization=f"Bearer {TOKEN}") == 200
        assert status_of(visitor, Cookie=cookie + "x") == status_of(visitor, Cookie="eden_session=") == 401
        assert status_of(visitor, "POST", "/v1/session", Cookie=cookie, Origin="http://evil.example") == 403
    with running(tmp_path / "web", at_once=0, token=TOKEN) as visitor:  # which a restart does not end
        assert status_of(visitor, Cookie=cookie) == 200
        ended = visitor.delete("/v1/session", headers={"Cookie": cookie})
        assert ended.status_code == 204 and "Max-Age=0" in ended.headers["Set-Cookie"]
        assert status_of(visitor, Cookie=cookie) == 401
        database = (tmp_path / "web" / "service.db").read_bytes()
        assert cookie.partition("=")[2].encode() not in database


def test_a_session_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("web.sessions._LASTS_S", 0)
    with running(tmp_path / "web", at_once=0, token=TOKEN) as visitor:
        begun = visitor.post("/v1/session", json={"token": TOKEN})
        assert status_of(visitor, Cookie=begun.headers["Set-Cookie"].partition(";")[0]) == 401


def test_where_no_token_is_asked_for_there_is_no_cookie(idle):
    reply = idle.post("/v1/session", json={"token": "any"})
    assert reply.status_code == 204 and "Set-Cookie" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/videos/../../etc/passwd", 404),
        ("GET", "/v1/videos/%2e%2e%2f%2e%2e%2fetc%2fpasswd/content", 404),
        ("PUT", "/v1/videos", 405),
        ("DELETE", f"/v1/videos/{'0' * 32}", 404),
        ("POST", "/v1/videos", 415),
        ("OPTIONS", "/v1/uploads", 204),
    ],
)
def test_every_answer_carries_what_browsers_have_to_heed(idle, method, path, status):
    reply = idle.request(method, path)
    assert reply.status_code == status
    assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["Cache-Control"] == "no-store" and "Access-Control-Allow-Origin" not in reply.headers
    if status >= 400:
        assert reply.json()["code"] == status


def test_an_answer_of_a_failure_says_nothing_of_it(tmp_path, monkeypatch):
    with running(tmp_path / "web", at_once=0) as visitor:
        monkeypatch.setattr("web.videos.Videos.page", lambda *_: 1 / 0)
        reply = visitor.get("/v1/videos")
    assert reply.status_code == 500 and "division" not in reply.text
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def address_of(visitor):
    host, _, port = visitor.url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "patient_protocol", lambda _: patient_protocol(PATIENCE))  # the head has all its time
    with (
        running(tmp_path / "web", replace(LIMITS, receive_s=0.2), at_once=0) as visitor,
        socket.create_connection(address_of(visitor), PATIENCE) as slow,
    ):
        slow.sendall(
            b"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{"
        )
        told = b""
        while chunk := slow.recv(4096):
            told += chunk
    assert told.startswith(b"HTTP/1.1 408 ") and b"arrived too late" in told


HEAD = b"GET /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def answered(address, request):
    """A connection whose first request was answered; where its head came too late, another one."""
    while True:
        connection, told = socket.create_connection(address, PATIENCE), b""
        with suppress(ConnectionError):
            connection.sendall(request)
            while not told.endswith(b"}") and (chunk := connection.recv(4096)):
                told += chunk
        if told:
            assert told.count(b" 200 OK") == 1 and told.endswith(b"}")
            return connection
        connection.close()


@pytest.mark.parametrize(("before", "head"), [(b"", b""), (b"", HEAD), (HEAD + b"\r\n", HEAD)])
def test_a_request_that_does_not_come_is_not_waited_for(tmp_path, before, head):
    with running(tmp_path / "web", replace(LIMITS, receive_s=0.2), at_once=0) as visitor:
        address = address_of(visitor)
        slow = answered(address, before) if before else socket.create_connection(address, PATIENCE)
        with slow, suppress(ConnectionError):  # where the head itself comes too late
            slow.sendall(head)
            assert slow.recv(1) == b""


def test_the_queue_is_bounded(tmp_path, film):
    with running(tmp_path / "web", replace(LIMITS, queue=2, videos=3), at_once=0) as visitor:
        video = visitor.send_film(film)
        wanted = {"upload": video["upload"]}
        assert [visitor.post("/v1/videos", json=wanted).status_code for _ in range(2)] == [201, 429]
        visitor.patch_video(video["id"], status="cancelled")
        assert visitor.post("/v1/videos", json=wanted).status_code == 201
        assert visitor.patch_video(video["id"], status="queued").status_code == 429
        form = visitor.post("/v1/videos", files={"film": ("a", b"x")})
        assert form.status_code == 429 and len([*(visitor.folder / "uploads").iterdir()]) == 1


def test_what_it_writes_is_for_nobody_else(idle, film):
    video = idle.send_film(film)
    folders = (idle.folder, idle.folder / "uploads", idle.folder / "videos", idle.folder / "videos" / video["id"])
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert stat.S_IMODE((idle.folder / "uploads" / video["upload"]).stat().st_mode) == 0o600


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "films.example"])
def test_nobody_else_reaches_it_without_a_token(tmp_path, monkeypatch, capsys, host):
    monkeypatch.delenv("EDEN_WEB_TOKEN", raising=False)
    assert not is_loopback(host)
    assert main(["--host", host, "--folder", str(tmp_path / "web")]) == 1
    assert "set EDEN_WEB_TOKEN or --token-file" in capsys.readouterr().err
    assert not (tmp_path / "web").exists()


def test_a_token_that_can_be_guessed_is_refused(tmp_path, capsys):
    (tmp_path / "token").write_text("secret\n")
    assert main(["--token-file", str(tmp_path / "token"), "--folder", str(tmp_path / "web")]) == 1
    assert "at least 16 characters" in capsys.readouterr().err


def test_a_folder_is_for_one_service(idle, capsys):
    assert main(["--folder", str(idle.folder), "--port", "0"]) == 1
    assert "another service is using" in capsys.readouterr().err


def test_films_are_made_without_the_services_token(tmp_path, monkeypatch):
    import asyncio
    import sys

    from web.film_process import FilmProcess

    monkeypatch.setenv("EDEN_WEB_TOKEN", TOKEN)
    told = []
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    assert asyncio.run(FilmProcess([sys.executable, "-c", code], told.append).run()) == 0
    assert told[0]["PATH"] == os.environ["PATH"] and "EDEN_WEB_TOKEN" not in told[0]
