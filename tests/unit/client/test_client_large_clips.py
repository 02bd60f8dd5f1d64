"""Clips that are more than a server takes at once: sent as several, with the same frames in the same order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from eden_client import EdenClient, TooLarge
from eden_client.api.routes import FUSED_PATH, WORKFLOW_PATH
from media import decode_npy, encode_npy
from serving.request import Caller, Request
from serving.settings import Limits
from tests.e2e.servers import moving_frames
from tests.unit.client.told import between, envelope, mean
from tests.unit.serving.conftest import Outbox

PATHS = {"workflow": WORKFLOW_PATH, "fused": FUSED_PATH}
LARGE = list(np.random.default_rng(1).integers(0, 256, (12, 16, 24, 3), np.uint8))
MEANS = np.stack([mean(first, second) for first, second in itertools.pairwise(LARGE)])


def sent(bodies: list[bytes]) -> list[np.ndarray]:
    return [decode_npy(body, max_pixels=1 << 30, max_frames=1 << 30) for body in bodies]


def takes(most: int):
    """Draws clips of at most so many frames."""

    def draw(body: bytes):
        count = len(sent([body])[0])
        if count <= most:
            return between(body)
        return 413, envelope(413, "TooLarge", f"{count} frames", retry="never", largest_clip=most)

    return draw


@pytest.fixture(params=PATHS)
def client(told, request):
    with EdenClient(told.url, route=request.param) as client:
        yield client


@pytest.mark.parametrize("most", [2, 3, 5, 11])
def test_a_clip_is_sent_in_parts_that_share_a_frame(told, client, most):
    told.draw = takes(most)
    assert np.array_equal(client.interpolate_clip(LARGE), MEANS)
    whole, *parts = sent(told.bodies)
    assert len(whole) == 12 and max(map(len, parts)) == most
    for part, following in itertools.pairwise(parts):
        assert np.array_equal(part[-1], following[0])
    assert client.traffic.pairs == 11 and client.traffic.retries == 0


def test_the_bound_is_remembered_for_frames_of_that_size(told, client):
    told.draw = takes(5)
    client.interpolate_clip(LARGE[:7])
    told.bodies.clear()
    assert np.array_equal(list(client.between(LARGE)), MEANS)
    assert [len(part) for part in sent(told.bodies)] == [5, 5, 4]
    told.bodies.clear()
    told.draw = between
    client.interpolate_clip([frame[:8] for frame in LARGE])
    assert [len(part) for part in sent(told.bodies)] == [12]


def test_a_bound_that_falls_meanwhile_is_kept_too(told, client):
    told.draw = takes(6)
    frames = client.between(LARGE)
    made = [next(frames) for _ in range(5)]
    told.draw = takes(3)
    assert np.array_equal([*made, *frames], MEANS)
    assert [len(part) for part in sent(told.bodies)] == [12, 6, 6, 3, 3, 3]


@pytest.mark.parametrize("largest", [{}, {"largest_clip": 1}, {"largest_clip": 0}, {"largest_clip": 12}])
def test_where_no_shorter_clip_would_do_the_servers_words_are_the_answer(told, client, largest):
    told.draw = lambda body: (413, envelope(413, "TooLarge", "not even two of them", retry="never", **largest))
    with pytest.raises(TooLarge, match="not even two of them"):
        client.interpolate_clip(LARGE)
    assert len(told.paths) == 1


@pytest.mark.parametrize("route", PATHS)
def test_real_nodes_take_what_they_said_they_would_and_draw_the_same(told, make_nodes, route):
    frames = list(moving_frames(9))
    roomy = make_nodes()
    most = roomy.layout.nbytes(4, 64, 96)
    tight = make_nodes(Limits(max_clip_pixels=4 * 64 * 96), max_payload_bytes=most, budget_bytes=2 * most)

    def serve(nodes, body: bytes):
        if route == "workflow":
            return nodes.through(Request(0, {"body": body}, {}, Caller.WORKFLOW))[0].body
        (answer,) = nodes.fused.serve([Request(0, {"body": body}, {}, Caller.HTTP)], Outbox())
        return answer.body if answer.status == 200 else (answer.status, answer.body)

    told.draw = lambda body: serve(tight, body)
    with EdenClient(told.url, route=route) as client:
        made = client.interpolate_clip(frames)
    assert [len(part) for part in sent(told.bodies)] == [9, 4, 4, 3]
    (whole,) = sent([serve(roomy, encode_npy(np.stack(frames)))])
    assert np.abs(made.astype(int) - whole).max() <= 1
