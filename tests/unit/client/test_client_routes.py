"""Which way a client takes through a server: the one named, or the one that it finds."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from eden_client import EdenClient, NotOffered, ServerFailed, TokenRejected
from eden_client.api import client as client_module
from eden_client.api.busy_route import CALM
from eden_client.api.routes import DECODER, ENCODER, FUSED_PATH, WORKFLOW_PATH, Terms, deadline_ms
from media import decode_npy, encode_npy
from media.terms import LATEST_MS
from tests.unit.client.told import FRAMES, Told, between, envelope, mean, streamed

MEANS = [mean(*FRAMES[i : i + 2]) for i in range(3)]
BOTH = {FUSED_PATH, WORKFLOW_PATH}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client_module, "LONGEST_PAUSE", 0.02)


def assert_means(client: EdenClient) -> None:
    assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
    assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), MEANS[0])


def test_fused_is_one_call_for_a_clip_and_for_a_pair(told):
    with EdenClient(told.url, route="fused") as client:
        assert_means(client)
    assert told.paths == [FUSED_PATH] * 2 and not told.asked


def test_a_stream_of_fused_that_ends_early_goes_on_where_it_ended(told):
    def one_frame_only(body):
        return streamed(encode_npy(decode_npy(between(body), max_pixels=1 << 30, max_frames=3)[:1]))

    told.answers = [one_frame_only]
    with EdenClient(told.url, route="fused") as client:
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
        assert client.traffic.retries == 1
    first, second = told.bodies
    assert len(first) - len(second) == FRAMES[0].nbytes


@pytest.mark.parametrize(
    ("offers", "asked", "goes_by"),
    [
        (BOTH, [FUSED_PATH], FUSED_PATH),
        ({FUSED_PATH}, [FUSED_PATH], FUSED_PATH),
        ({WORKFLOW_PATH}, [FUSED_PATH, WORKFLOW_PATH], WORKFLOW_PATH),
    ],
)
def test_the_best_that_a_server_offers_is_found_once(told, offers, asked, goes_by):
    told.offers = offers
    with EdenClient(told.url) as client:
        assert_means(client)
        assert np.array_equal(list(client.stream(FRAMES)), MEANS)
    assert told.asked == asked and set(told.paths) == {goes_by}


def test_threads_that_come_at_once_ask_once(told):
    begin = threading.Barrier(6)
    with EdenClient(told.url) as client:

        def pair():
            begin.wait()
            client.interpolate_pair(*FRAMES[:2])

        threads = [threading.Thread(target=pair) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told.asked == [FUSED_PATH, WORKFLOW_PATH] and len(told.paths) == 6


def test_what_was_found_is_asked_for_again_once_the_server_no_longer_knows_it(told):
    told.offers = BOTH
    with EdenClient(told.url) as client:
        client.interpolate_pair(*FRAMES[:2])
        told.offers = {WORKFLOW_PATH}
        told.answers = [(404, envelope(404, "ModelNotFoundException"))]
        assert_means(client)
        assert client.traffic.retries == 1
    assert told.asked == [FUSED_PATH, FUSED_PATH, WORKFLOW_PATH]
    assert told.paths == [FUSED_PATH, FUSED_PATH, WORKFLOW_PATH, WORKFLOW_PATH]


def test_a_server_that_starts_knows_neither_and_is_waited_for_where_it_has_answered_before(told):
    with EdenClient(told.url) as client:
        told.offers = set()
        with pytest.raises(NotOffered, match="still starting"):
            client.interpolate_pair(*FRAMES[:2])
        told.offers = {WORKFLOW_PATH}
        client.interpolate_pair(*FRAMES[:2])

        told.offers = set()
        told.answers = [(404, envelope(404, "WorkflowNotFoundException"))]
        troubles = []

        def started(error):
            troubles.append(error)
            if len(troubles) == 3:
                told.offers = {FUSED_PATH}

        client.on_trouble = started
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), MEANS[0])
    assert [type(error) for error in troubles] == [NotOffered] * 3 and told.paths[-1] == FUSED_PATH


@pytest.mark.parametrize("kind", ["BadRequest", "OverCapacity"])
def test_a_model_that_is_busy_is_offered_too(told, monkeypatch, kind):
    monkeypatch.setattr(told, "known", lambda path: (503, envelope(503, kind, retry="later")))
    with EdenClient(told.url) as client:
        assert_means(client)
    assert told.asked == [FUSED_PATH] and told.paths == [FUSED_PATH] * 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, b"<html>"), ServerFailed),
        ((200, b"<html>"), ServerFailed),
        ((400, envelope(400, "InvalidKeyException")), TokenRejected),
    ],
)
def test_what_is_no_answer_to_the_question_is_an_error_at_once(told, monkeypatch, answer, error):
    monkeypatch.setattr(told, "known", lambda path: answer)
    with EdenClient(told.url) as client, pytest.raises(error):
        client.interpolate_pair(*FRAMES[:2])
    assert not told.paths and set(told.asked) == {FUSED_PATH}


def test_two_servers_mean_a_chain():
    encoder, decoder = Told(), Told()
    encoder.answers = [b"EDEN-TICKET of theirs"]
    decoder.draw = lambda ticket: between(encode_npy(np.stack(FRAMES[:2])))
    with EdenClient(encoder.url, decoder_server=decoder.url) as client:
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), MEANS[0])
    assert not encoder.asked and len(encoder.paths) == 1
    assert decoder.bodies == [b"EDEN-TICKET of theirs"]
    encoder.close()
    decoder.close()


# ---------------------------------------------------------------- how long the client waits, and how urgent it is


def asked(told: Told) -> list[tuple[str | None, str | None]]:
    return [(headers.get("X-Eden-Deadline-Ms"), headers.get("X-Eden-Priority")) for headers in told.headers]


@pytest.mark.parametrize("route", ["workflow", "fused"])
def test_a_server_is_told_how_long_its_client_waits(told, route):
    with EdenClient(told.url, route=route, timeout=20, priority="live") as client:
        client.interpolate_pair(*FRAMES[:2])
    assert asked(told) == [("20000", "live")]


def test_each_frame_of_a_stream_may_take_as_long(told):
    with EdenClient(told.url, route="fused", timeout=20) as client:
        client.interpolate_clip(FRAMES)
    assert asked(told) == [("60000", None)]


def test_a_chain_has_its_tickets_live_until_the_last_frame_is_late(told):
    with EdenClient(told.url, route="chain", timeout=20, priority="batch") as client:
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
    assert asked(told) == [("80000", "batch"), (None, None)]


def test_a_deadline_is_one_that_servers_take():
    assert [deadline_ms(seconds) for seconds in (0.0, 0.0001, 1.5, 1e300, float("inf"))] == [
        1,
        1,
        1500,
        *[LATEST_MS] * 2,
    ]
    assert Terms(7, "live").fields(2.0) == {"seed": b"7", "deadline_ms": b"2000", "priority": b"live"}


# ---------------------------------------------------------------- a busy workflow


BUSY = (200, envelope(503, "OverCapacity", retry="later"))
CHAIN = [f"/predictions/{ENCODER}", f"/predictions/{DECODER}"]


def test_while_the_workflow_is_busy_the_chain_is_asked_which_answers_at_once(told):
    pair = FRAMES[:2]
    told.answers = [BUSY, (503, BUSY[1])]
    with EdenClient(told.url) as client:
        for _ in range(CALM + 1):
            assert np.array_equal(client.interpolate_pair(*pair), MEANS[0])
    assert told.paths == [WORKFLOW_PATH, CHAIN[0], *CHAIN * CALM, WORKFLOW_PATH]


def test_where_a_gateway_lets_pass_the_workflow_alone_it_is_waited_for(told):
    told.answers = [BUSY, (404, envelope(404, "ModelNotFoundException")), BUSY]
    with EdenClient(told.url) as client:
        client._seen = True
        assert np.array_equal(client.interpolate_pair(*FRAMES[:2]), MEANS[0])
    assert told.paths == [WORKFLOW_PATH, CHAIN[0], WORKFLOW_PATH, WORKFLOW_PATH]


def test_a_route_that_was_named_is_kept_to(told):
    told.answers = [BUSY, BUSY]
    with EdenClient(told.url, route="workflow") as client:
        client.interpolate_pair(*FRAMES[:2])
    assert set(told.paths) == {WORKFLOW_PATH}
