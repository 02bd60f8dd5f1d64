"""Which way a client takes through a server: the one named, or the one that it finds."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from eden_client import EdenClient, NotOffered, ServerFailed, TokenRejected
from eden_client.api import client as client_module
from eden_client.api.routes import FUSED_PATH, WORKFLOW_PATH
from media import decode_npy, encode_npy
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
