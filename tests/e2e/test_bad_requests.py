"""What is wrong is named, nothing else is lost, and the server keeps its threads and workers."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import media
from server import Server
from server.api import BINARY
from tests.e2e.servers import PREDICT, WORKFLOW, assert_no_thread_leaked, moving_frames, pack, running_server


def png(frame: np.ndarray) -> bytes:
    return media.encode_image(frame, "png")


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def video(count: int) -> bytes:
    target = io.BytesIO()
    media.encode_video(list(moving_frames(count)), Fraction(12), target)
    return target.getvalue()


GOOD = png(moving_frames()[0])
BAD = {
    "one frame": ({"frame0": GOOD}, {}, 400, "1 frame: at least two"),
    "no frame": ({}, {"seed": "1"}, 400, "0 frames: at least two"),
    "two sizes": ({"frame0": GOOD, "frame1": png(moving_frames(1, 64, 64)[0])}, {}, 400, "frame1 is 64x64 pixels"),
    "no image": ({"frame0": GOOD, "frame1": b"hello"}, {}, 400, "frame1: "),
    "truncated": ({"frame0": GOOD, "frame1": GOOD[: len(GOOD) // 2]}, {}, 400, "frame1: "),
    "too small": ({f"frame{i}": png(moving_frames(1, 15, 40)[0]) for i in (0, 1)}, {}, 400, "at least 16"),
    "unknown format": ({"frame0": GOOD, "frame1": GOOD}, {"format": "tiff"}, 400, "format is 'tiff'"),
    "bad seed": ({"frame0": GOOD, "frame1": GOOD}, {"seed": "x"}, 400, "seed is 'x'"),
    "bad quality": ({"frame0": GOOD, "frame1": GOOD}, {"quality": "101"}, 400, "quality is 101"),
    "empty body": (b"", {}, 400, "empty"),
    "a body of nothing known": (b"what is this", {}, 400, ""),
    "a video of one frame": (video(1), {}, 400, "1 frame: at least two"),
    "a broken video": (video(4)[:300], {}, 400, ""),
    "a broken array": (media.encode_npy(moving_frames())[:-1], {}, 400, ""),
}


def send(server: Server, path: str, name: str):
    body, options, *_ = BAD[name]
    if isinstance(body, dict):
        files = {key: (f"{key}.png", value) for key, value in body.items()}
        return server.api.call(path, files={**files, **{k: (None, v) for k, v in options.items()}})
    return server.api.call(path, data=body, headers=BINARY)


@pytest.mark.parametrize("name", BAD)
def test_a_clear_error_names_what_is_wrong(server, name):
    _, _, code, message = BAD[name]
    direct = send(server, PREDICT[0], name)
    assert direct.status_code == code, direct.text
    assert direct.headers["content-type"] == "application/json"
    told = direct.json()
    assert told["code"] == code
    assert told["type"] in ("BadRequest", "MediaError")
    assert message in told["message"]
    through = send(server, WORKFLOW, name)
    assert (through.status_code, through.json()) == (200, told)


ORIENTATION = 0x0112


def rotated() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return saved(Image.fromarray(moving_frames(1, 96, 64)[0]), "JPEG", exif=exif.tobytes())


@pytest.mark.parametrize(
    "picture",
    [
        saved(Image.fromarray(moving_frames()[0]).convert("RGBA")),
        saved(Image.fromarray(moving_frames()[0]).convert("L")),
        saved(Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 8)),
        saved(Image.fromarray(moving_frames()[0]).convert("P")),
        rotated(),
    ],
    ids=["alpha", "greyscale", "16 bits", "palette", "EXIF rotation"],
)
def test_unusual_pictures_are_converted(server, picture):
    reply = server.api.call(WORKFLOW, files={"frame0": ("0", picture), "frame1": ("1", GOOD)})
    assert media.decode_image(reply.content, max_pixels=10**6).shape == (64, 96, 3)


def state(server: Server) -> tuple[list[int], list[int]]:
    return server.worker_pids("eden__encoder"), server.worker_pids("eden__dit_decoder")


def test_200_bad_requests_cost_no_thread_and_no_worker(server):
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):  # every thread that the server makes for concurrent callers is there before we count
            list(pool.map(lambda name: send(server, WORKFLOW, name), list(BAD)))
        threads, workers = server.thread_count(), state(server)
        names = (list(BAD) * 14)[:200]
        replies = list(pool.map(lambda name: send(server, WORKFLOW, name), names))
    assert [reply.json()["code"] for reply in replies] == [BAD[name][2] for name in names]
    assert state(server) == workers
    assert_no_thread_leaked(server, threads)


def test_one_bad_item_never_touches_the_others(server):
    def one(i: int):
        if i % 4 == 3:
            return send(server, WORKFLOW, "truncated").json()
        files = {f"frame{k}": (str(k), png(frame)) for k, frame in enumerate(moving_frames(seed=i))}
        return media.decode_image(server.api.call(WORKFLOW, files=files).content, max_pixels=10**6)

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(one, range(16)))
    for i, result in enumerate(together):
        if i % 4 == 3:
            assert result["code"] == 400
        else:
            assert np.abs(result.astype(int) - one(i)).max() <= 1


@contextmanager
def server_with(folder: Path, **most: int) -> Iterator[Server]:
    """A server with batches of two whose encoder lets so many wait, or so long."""
    settings = [option for name, value in most.items() for option in ("--set", f"encoder:{name}={value}")]
    store = pack(folder / "store", "--batch-size", "2", *settings)
    with running_server(store, folder / "server") as running:
        yield running


@pytest.fixture(scope="module")
def busy_server(tmp_path_factory):
    """A server that lets few requests and clips wait."""
    most = {"handoff.max_in_flight": 60, "max_queued": 5, "max_wait_s": 600}
    with server_with(tmp_path_factory.mktemp("busy"), **most) as running:
        yield running


def test_200_refused_for_overload_cost_nothing_and_the_workflow_is_served_meanwhile(busy_server):
    body = media.encode_npy(moving_frames())
    tickets = [busy_server.api.call(PREDICT[0], data=body, headers=BINARY) for _ in range(60)]
    assert {ticket.status_code for ticket in tickets} == {200}

    def refused(_: int) -> tuple[int, str]:
        reply = busy_server.api.call(PREDICT[0], data=body, headers=BINARY)
        return reply.status_code, reply.json()["type"]

    def served(_: int) -> bool:
        return busy_server.api.call(WORKFLOW, data=body, headers=BINARY).content.startswith(b"\x93NUMPY")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(refused, range(24)))
        threads, workers = busy_server.thread_count(), state(busy_server)
        told = list(pool.map(refused, range(200)))
        assert set(told) == {(503, "OverCapacity")}
        assert all(pool.map(served, range(20)))  # the oldest tickets give way to them, and no more than there are calls
    assert state(busy_server) == workers
    assert_no_thread_leaked(busy_server, threads)
    good = [busy_server.api.call(PREDICT[1], data=ticket.content, headers=BINARY).status_code for ticket in tickets]
    gone = good.count(410)
    assert 1 <= gone <= 4 and good == [410] * gone + [200] * (60 - gone)


LONGEST = 8
"""Seconds that a clip may wait there; within as many, two calls follow each other on a machine with other work."""


def test_what_would_wait_too_long_for_the_decoder_is_refused(tmp_path):
    body = media.encode_npy(moving_frames())

    # Callers who hold tickets for so long count as gone, and make nobody wait: here nobody is.
    with server_with(tmp_path, **{"max_wait_s": LONGEST, "handoff.abandoned_after_s": 300}) as server:

        def encode(*, refused: bool = False) -> requests.Response:
            reply = server.api.call(PREDICT[0], data=body, headers=BINARY)
            assert reply.status_code == (503 if refused else 200), reply.text
            return reply

        def draw(ticket: requests.Response) -> None:
            assert server.api.call(PREDICT[1], data=ticket.content, headers=BINARY).status_code == 200

        draw(encode())
        first = encode()
        time.sleep(LONGEST + 0.1)
        second = encode()  # less than a batch may always wait
        told = encode(refused=True).json()["message"]
        assert re.fullmatch(
            rf"2 clips wait .*, which takes about [\d.]+ s; at most {LONGEST} s are allowed: try again later",
            told,
        )
        time.sleep(LONGEST + 0.1)
        third = encode()  # after so long without any, one is let through to see
        encode(refused=True)
        draw(third)  # so nobody waits for the first two
        rest = [first, second, *(encode() for _ in range(3))]
        for ticket in rest:
            draw(ticket)


def test_a_flood_before_the_encoder_is_refused_down_to_what_may_wait(busy_server):
    body = media.encode_npy(moving_frames(24, 192, 256))

    def encode(_: int) -> tuple[int, str]:
        reply = busy_server.api.call(PREDICT[0], data=body, headers=BINARY)
        return reply.status_code, "" if reply.ok else reply.json()["message"]

    with ThreadPoolExecutor(60) as pool:
        told = list(pool.map(encode, range(60)))
    assert busy_server.api.describe("eden__encoder")["jobQueueStatus"]["pendingRequests"] == 0
    assert encode(0)[0] == 200
    refusals = [message for status, message in told if status == 503]
    assert {status for status, _ in told} == {200, 503}
    assert len(refusals) > 10
    assert set(refusals) == {"more than 5 requests wait for this node: try again later"}
