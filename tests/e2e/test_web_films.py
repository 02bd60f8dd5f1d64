"""A film through the service of films is the one that the command makes, bit for bit, by a real server."""

from __future__ import annotations

import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.sync.client import connect

from media import decode_image, encode_image
from tests.e2e.client_films import CLIP, client_of, options_for, run, write_film
from tests.e2e.servers import assert_same, wait_for
from tests.unit.web.services import PATIENCE, running
from web import eden
from web.live import DRAWN, QUALITY, STAMP
from web.server_status import look

WORKER = (sys.executable, "-m", "web.worker")
ONE_CALL = ("--window", "1")
"""At a time: how the server's sums are rounded depends on which calls share a batch."""


@pytest.mark.parametrize(
    ("wanted", "options"),
    [({}, []), ({"start": 0.25, "duration": 0.2, "format": "mkv"}, ["--start", "0.25", "--duration", "0.2"])],
)
def test_a_film_through_the_service_is_that_of_the_command(server, tmp_path, wanted, options):
    film = write_film(tmp_path / "in.mp4", CLIP[:12], sound=["aac"])
    ending = wanted.get("format", "mp4")
    assert run(server, film, tmp_path / f"by-command.{ending}", *ONE_CALL, *options) == 0
    told = (*options_for(server), *ONE_CALL)
    with running(tmp_path / "web", command=WORKER, film_options=told) as visitor:
        video = visitor.ended(visitor.send_film(film, **wanted)["id"])
        assert video["status"] == "completed", video["error"]
        by_service = visitor.content(video["id"]).content
    by_command = (tmp_path / f"by-command.{ending}").read_bytes()
    if ending == "mkv":  # whose writer puts a random number into the file's head
        (tmp_path / "by-service.mkv").write_bytes(by_service)
        assert packets(tmp_path / "by-service.mkv") == packets(tmp_path / "by-command.mkv") != []
    else:
        assert by_service == by_command


def packets(path):
    import av

    with av.open(path) as film:
        return [(each.pts, each.duration, bytes(each)) for each in film.demux() if each.size]


def test_a_server_that_is_away_is_said_in_words_and_retried(server, tmp_path):
    film = write_film(tmp_path / "in.mp4", CLIP[:4])
    nowhere = ("--server", "http://127.0.0.1:9", "--token", "none", "--patience", "0.1")
    with running(tmp_path / "web", command=WORKER, film_options=nowhere) as visitor:
        id_ = visitor.send_film(film)["id"]
        failed = visitor.ended(id_)
    assert failed["status"] == "failed" and "127.0.0.1:9" in failed["error"], failed
    with running(tmp_path / "web", command=WORKER, film_options=tuple(options_for(server))) as visitor:
        assert visitor.patch_video(id_, status="queued").status_code == 200
        assert visitor.ended(id_)["frames"] == 7


def test_a_film_that_begins_before_its_server_does_waits_for_it(server, tmp_path):
    film = write_film(tmp_path / "in.mp4", CLIP[:4])
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # nobody answers there until it listens
        told = list(options_for(server))
        told[told.index(server.url)] = f"http://127.0.0.1:{door.getsockname()[1]}"
        worker = {"command": WORKER, "film_options": tuple(told)}
        with relay(door, urlsplit(server.url).port) as open_, running(tmp_path / "web", **worker) as visitor:
            id_ = visitor.send_film(film)["id"]
            visitor.until(id_, lambda video: any("trying again" in note for note in video["notes"]))
            open_()
            video = visitor.ended(id_)
    assert (video["status"], video["frames"]) == ("completed", 7), video["error"]


@contextmanager
def relay(door, port):
    """Once what this gives is called, what connects to `door` gets to the server at `port`."""
    with ThreadPoolExecutor(64) as pool, ExitStack() as open_:

        def copy(source, target):
            with suppress(OSError):
                while data := source.recv(1 << 16):
                    target.sendall(data)
            for each in (source, target):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        def accept():
            with suppress(OSError):
                while True:
                    inner = open_.enter_context(door.accept()[0])
                    outer = open_.enter_context(socket.create_connection(("127.0.0.1", port)))
                    pool.submit(copy, inner, outer)
                    pool.submit(copy, outer, inner)

        def begin():
            door.listen()
            pool.submit(accept)

        yield begin
        with suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)


def test_the_frame_between_two_is_the_servers(server, tmp_path):
    film = write_film(tmp_path / "in.mp4", CLIP[:4])
    with running(tmp_path / "web", at_once=0, film_options=tuple(options_for(server))) as visitor:
        place = visitor.upload(film.read_bytes())
        replies = [visitor.get(f"{place}/pair/{which}?at=0.05") for which in ("first", "second", "eden")]
        first, second, between = (decode_image(reply.content, max_pixels=10**6) for reply in replies)
        timing = replies[2].headers["Server-Timing"]
    with client_of(server) as client:
        assert_same([between], [client.interpolate_pair(first, second)])
    assert re.fullmatch(r"decode;dur=[\d.]+, server;dur=[\d.]+, encode;dur=[\d.]+", timing)


def test_what_the_server_does_is_told(server, tmp_path):
    film = write_film(tmp_path / "in.mp4", CLIP[:4])
    with running(tmp_path / "web", at_once=0, film_options=tuple(options_for(server))) as visitor:
        visitor.get(f"{visitor.upload(film.read_bytes())}/pair/eden?at=0.05").raise_for_status()
        seen = []
        wait_for(lambda: seen.append(visitor.get("/v1/server").json()) or seen[-1]["models"] is not None)
        told = seen[-1]
    assert (told["server"], told["status"], told["trouble"]) == (server.url, "ready", [])
    models = {model["name"]: model for model in told["models"]}
    assert {*models} == {"eden__encoder", "eden__dit_decoder"}
    assert all(model["workers_ready"] == model["workers"] >= 1 for model in models.values())
    wait_for(lambda: (look(server.url, server.tokens.path).pairs or 0) >= 1)  # metrics are told once a second


def test_live_pictures_are_drawn_by_the_server(server, tmp_path, monkeypatch):
    monkeypatch.setitem(eden._WAITING, "live", {"timeout": PATIENCE, "patience": PATIENCE})
    first, second = CLIP[:2]
    jpegs = [encode_image(np.asarray(frame), "jpeg", 95) for frame in (first, second)]
    with running(tmp_path / "web", at_once=0, film_options=tuple(options_for(server))) as visitor:
        address = f"{visitor.url.replace('http', 'ws')}/v1/live"
        with connect(address, proxy=None, open_timeout=PATIENCE) as socket:
            for number, jpeg in enumerate(jpegs):
                socket.send(STAMP.pack(number) + jpeg)
            while isinstance(message := socket.recv(PATIENCE), str):
                assert '"error"' not in message
    assert DRAWN.unpack_from(message)[:2] == (0, 1)
    with client_of(server) as client:
        wanted = client.interpolate_pair(*(decode_image(jpeg, max_pixels=10**6) for jpeg in jpegs))
    pictures = (message[DRAWN.size :], encode_image(wanted, "jpeg", QUALITY))
    one, other = (decode_image(data, max_pixels=10**6).astype(int) for data in pictures)
    assert np.abs(one - other).mean() < 1
