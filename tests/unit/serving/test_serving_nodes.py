"""Requests through encoder, decoder and the fused node, as plain objects."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

import media
from serving.encode import REFUSAL, TICKET
from serving.request import Caller, Request
from serving.settings import Limits
from serving.telemetry import Silent
from tests.e2e.servers import moving_frames
from tests.unit.serving.conftest import Outbox

PNGS = {f"frame{i}": media.encode_image(frame, "png") for i, frame in enumerate(moving_frames(2))}


def clip(count: int = 2, seed: int = 0, height: int = 64, width: int = 96) -> bytes:
    return media.encode_npy(moving_frames(count, height, width, seed))


def request(index: int = 0, fields: dict | None = None, caller: Caller = Caller.WORKFLOW, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(index, {"body": clip()} if fields is None else fields, named, caller)


def frames(answer) -> np.ndarray:
    assert answer.status == 200, answer.body
    return np.load(io.BytesIO(answer.body))


def told(answer, code: int) -> dict:
    envelope = json.loads(answer.body)
    assert answer.status == envelope["code"] == code, envelope
    return envelope


def test_a_pair_of_pictures_becomes_a_picture(nodes):
    (answer,) = nodes.through(request(fields=PNGS))
    assert answer.content_type == "image/png"
    assert media.decode_image(answer.body, max_pixels=10**6).shape == (64, 96, 3)


def test_one_that_is_wrong_spares_the_others_of_its_batch(nodes):
    alone = frames(nodes.through(request())[0])
    answers = nodes.through(
        request(0), request(1, {"body": b"no clip"}), request(2, {"body": clip(3, seed=1)}), request(3, {"body": b""})
    )
    assert np.abs(frames(answers[0]).astype(int) - alone).max() <= 1
    assert "not a readable video" in told(answers[1], 400)["message"]
    assert frames(answers[2]).shape == (2, 64, 96, 3)
    assert told(answers[3], 400)["retry"] == "never"


def test_a_refusal_is_signed_only_where_the_decoder_reads_it(nodes):
    answers = nodes.encoder.serve([request(0, {"body": b"x"}), request(1, {"body": b"x"}, Caller.HTTP), request(2)])
    assert [answer.content_type for answer in answers] == [REFUSAL, "application/json", TICKET]


@pytest.mark.parametrize("headers", [{"accept": "application/json"}, {"accept": "image/png;q=x"}])
def test_what_the_encoder_let_pass_the_decoder_does_not_refuse(nodes, headers):
    """Its payload would lie there until it expires, and a few dozen of them fill the server."""
    before = nodes.handoff.room()
    (answer,) = nodes.through(request(fields=PNGS | {"format": b"webp"}, **headers))
    assert (answer.status, answer.content_type) == (200, "image/webp")
    (answer,) = nodes.through(request(fields=PNGS | {"seed": b"1", "stream": b"0"}, x_eden_seed="x", x_eden_stream="x"))
    assert (answer.status, answer.content_type) == (200, "image/png")
    assert nodes.handoff.room() == before


@pytest.mark.parametrize("caller", Caller)
def test_fused_draws_what_the_two_nodes_draw(nodes, caller):
    requests = [
        request(0, {"body": clip(5, seed=2), "seed": b"7"}, caller),
        request(1, PNGS, caller, x_eden_format="npy"),
        request(2, {"body": clip(2, seed=3, height=48, width=48)}, caller),
    ]
    fused = nodes.fused.serve(requests, Outbox())
    split = nodes.through(*(Request(r.index, r.fields, r.headers, Caller.WORKFLOW) for r in requests))
    for one, other in zip(fused, split, strict=True):
        assert one.content_type == other.content_type
        assert np.array_equal(frames(one), frames(other))


def test_fused_answers_a_film_with_its_source_frames(nodes):
    fields = {f"frame{i}": media.encode_image(frame, "png") for i, frame in enumerate(moving_frames(3))}
    fields |= {"format": b"mp4", "fps": b"12"}
    (fused,), (split,) = nodes.fused.serve([request(0, fields)], Outbox()), nodes.through(request(0, fields))
    assert fused.body == split.body
    with media.open_video(fused.body) as video:
        assert len(list(video.frames())) == 5


def test_a_long_clip_is_drawn_in_windows_and_looks_the_same(make_nodes):
    nodes = make_nodes()
    whole = request(0, {"body": clip(9, seed=4)}, Caller.HTTP)
    expected = frames(nodes.fused.serve([whole], Outbox())[0])
    for window in (3, 4, 9):
        few = make_nodes(window_bytes=nodes.layout.nbytes(window, 64, 96))
        found = frames(few.fused.serve([whole], Outbox())[0])
        assert np.abs(found.astype(int) - expected).max() <= 1
        streamed = Outbox()
        few.fused.serve([request(0, {"body": clip(9, seed=4), "stream": b"1"}, Caller.HTTP)], streamed)
        assert len(streamed.parts[0]) == 8


def test_streams_and_whole_clips_of_a_batch_are_all_served(nodes):
    tickets = nodes.encoder.serve([request(i, {"body": clip(4, seed=i)}, Caller.HTTP) for i in range(3)])
    outbox = Outbox()
    asked = [
        Request(i, {"body": ticket.body} | ({"stream": b"1"} if i < 2 else {}), {"x-eden-format": "npy"}, Caller.HTTP)
        for i, ticket in enumerate(tickets)
    ]
    first, second, whole = nodes.decoder.serve(asked, outbox)
    assert frames(whole).shape[0] == 3
    for index, end in enumerate((first, second)):
        assert end.body == b"--eden-frame--\r\n"
        assert len(outbox.parts[index]) == 3


def test_a_stream_that_cannot_begin_is_a_plain_error(nodes):
    (ticket,) = nodes.encoder.serve([request(caller=Caller.HTTP)])
    outbox = Outbox()
    fields = {"body": ticket.body, "stream": b"1", "format": b"mp4"}
    (answer,) = nodes.decoder.serve([request(0, fields, Caller.HTTP)], outbox)
    assert "mp4 cannot be streamed" in told(answer, 400)["message"]
    assert not outbox.parts


def test_a_clip_that_can_never_be_handed_on_is_refused_undecoded_with_what_fits(make_nodes, monkeypatch):
    nodes = make_nodes()
    most = nodes.layout.nbytes(5, 64, 96)
    small = make_nodes(max_payload_bytes=most, budget_bytes=2 * most)
    monkeypatch.setattr(media, "decode_image", lambda *_, **__: pytest.fail("it was decoded"))
    monkeypatch.setattr(media, "decode_npy", lambda *_, **__: pytest.fail("it was decoded"))
    pngs = {f"frame{i}": media.encode_image(frame, "png") for i, frame in enumerate(moving_frames(6))}
    for fields in ({"body": clip(6)}, pngs):
        (answer,) = small.encoder.serve([request(0, fields, Caller.HTTP)])
        assert told(answer, 413)["largest_clip"] == 5
        assert told(answer, 413)["retry"] == "never"
    monkeypatch.undo()
    assert frames(small.through(request(0, {"body": clip(5)}))[0]).shape[0] == 4


def test_source_frames_that_travel_along_count(make_nodes):
    most = make_nodes().layout.nbytes(5, 64, 96)
    small = make_nodes(max_payload_bytes=most, budget_bytes=2 * most)
    (answer,) = small.encoder.serve([request(0, {"body": clip(5), "format": b"mp4"}, Caller.HTTP)])
    fits = told(answer, 413)["largest_clip"]
    assert 2 <= fits < 5
    assert small.encoder.serve([request(0, {"body": clip(fits), "format": b"mp4"})])[0].content_type == TICKET


def test_what_the_server_fails_over_is_told_without_its_words(nodes, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("/srv/secret/path")

    monkeypatch.setattr(nodes.decoder._drawing._decoder, "interpolate", fail)
    first, second = nodes.through(request(0), request(1))
    for answer in (first, second):
        assert told(answer, 500)["retry"] == "later"
        assert b"secret" not in answer.body


def test_a_batch_is_read_in_parts_where_memory_does_not_allow_for_all_at_once(make_nodes, monkeypatch):
    one = media.peek(clip(5)).decode_bytes
    nodes = make_nodes(Limits(max_decode_bytes=3 * one // 2))
    open_at_once, most = 0, 0
    read, encode = media.decode_npy, nodes.encoder._encode

    def counted(*args, **kwargs):
        nonlocal open_at_once, most
        open_at_once += 1
        most = max(most, open_at_once)
        return read(*args, **kwargs)

    def encoded(jobs):
        nonlocal open_at_once
        open_at_once -= len(jobs)
        return encode(jobs)

    monkeypatch.setattr(media, "decode_npy", counted)
    monkeypatch.setattr(nodes.encoder, "_encode", encoded)
    answers = nodes.through(*(request(i, {"body": clip(5, seed=i)}) for i in range(4)))
    assert most == 1
    assert [len(frames(answer)) for answer in answers] == [4] * 4
    few = make_nodes(Limits(max_decode_bytes=one - 1))
    (answer,) = few.encoder.serve([request(0, {"body": clip(5)}, Caller.HTTP)])
    assert "decoding this takes up to" in told(answer, 413)["message"]


def test_limits_hold_without_a_handoff_too(make_nodes):
    nodes = make_nodes(Limits(max_pixels=64 * 96, max_clip_pixels=3 * 64 * 96))
    (answer,) = nodes.fused.serve([request(0, {"body": clip(4)}, Caller.HTTP)], Outbox())
    assert told(answer, 413)["largest_clip"] == 3


def test_an_answer_says_why_it_is_an_error_and_who_said_so_first(make_nodes):
    nodes = make_nodes(max_in_flight=1)
    bodies = {"body": b"x"}, {"body": b""}
    wrong = [nodes.encoder.serve([request(0, fields, Caller.HTTP)])[0] for fields in bodies]
    assert [answer.reason for answer in wrong] == ["MediaError", "BadRequest"]
    nodes.encoder.serve([request(0)])
    (refused,) = nodes.encoder.serve([request(0)])
    assert (refused.status, refused.reason) == (503, "in_flight")
    (passed_on,) = nodes.decoder.serve([request(0, {"body": refused.body})], Outbox())
    assert (passed_on.status, passed_on.reason) == (503, "passed_on")
    (good,) = nodes.fused.serve([request(0, caller=Caller.HTTP)], Outbox())
    assert (good.status, good.reason) == (200, "")


class Began(Silent):
    """Keeps when calls began."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, float] = {}

    def began(self, index: int, at: float) -> None:
        self.at[index] = at


def test_a_ticket_tells_the_decoder_when_the_call_began_in_a_workflow_alone(make_nodes, monkeypatch):
    nodes, began = make_nodes(), Began()
    monkeypatch.setattr(nodes.decoder, "_telemetry", began)
    calls = [Request(index, {"body": clip()}, {}, Caller.WORKFLOW, arrived=1000.0 + index) for index in range(2)]
    tickets = nodes.encoder.serve(calls)
    callers = (Caller.WORKFLOW, Caller.HTTP)
    given = [request(i, {"body": tickets[i].body}, caller) for i, caller in enumerate(callers)]
    assert all(answer.status == 200 for answer in nodes.decoder.serve(given, Outbox()))
    assert began.at == {0: 1000.0}


@pytest.fixture
def full(networks) -> Iterator[Callable[[str, tuple[int, int]], None]]:
    """Has a half of the model run out of memory over frames of one size, as on a GPU that another process fills."""
    hooks = []

    def fill(half: str, size: tuple[int, int]) -> None:
        encoder, decoder = networks
        network, patches_per_token = (encoder.network, 1) if half == "encoder" else (decoder.engine.decoder, 4)

        def allocate(_: nn.Module, arguments: tuple) -> None:
            if patches_per_token * arguments[0].shape[1] * encoder.config.patch_size**2 == size[0] * size[1]:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        hooks.append(network.register_forward_pre_hook(allocate))

    yield fill
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("way", ["split", "fused", "fused, streamed"])
def test_what_memory_is_too_short_for_is_to_be_tried_later_and_its_neighbours_are_served(nodes, full, half, way):
    full(half, (96, 128))
    large, small = {"body": clip(3, 0, 96, 128)}, {"body": clip(2)}
    if way == "split":
        refused, served = nodes.through(request(0, large), request(1, small))
    else:
        stream = {"x-eden-stream": "1"} if "streamed" in way else {}
        requests = [Request(index, fields, stream, Caller.HTTP) for index, fields in enumerate((large, small))]
        refused, served = nodes.fused.serve(requests, Outbox())
    envelope = told(refused, 503)
    assert (envelope["type"], envelope["retry"], envelope["retry_after"]) == ("OutOfMemory", "later", 5)
    assert refused.retry_after == 5 and "CUDA" not in envelope["message"]
    assert served.status == 200


def test_a_stream_that_runs_out_of_memory_ends_with_that_as_its_last_part(nodes, networks):
    """Another process may take the memory between two of its frames."""
    drawn = []

    def allocate(_: nn.Module, arguments: tuple) -> None:
        drawn.append(len(arguments[0]))
        if len(drawn) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = networks[1].engine.decoder.register_forward_pre_hook(allocate)
    try:
        outbox = Outbox()
        (answer,) = nodes.fused.serve([Request(0, {"body": clip(4)}, {"x-eden-stream": "1"}, Caller.HTTP)], outbox)
    finally:
        hook.remove()
    assert len(outbox.parts[0]) == 1
    assert b'"type": "OutOfMemory"' in answer.body and b'"retry_after": 5' in answer.body


def test_a_server_that_is_drained_refuses_what_is_new_and_draws_what_it_has_encoded(make_nodes):
    draining, held = [False], []
    nodes = make_nodes(accept=lambda: not draining[0], hold=lambda: held.append("held"))
    (ticket,) = nodes.encoder.serve([request(caller=Caller.HTTP)])
    draining[0] = True
    (refused,) = nodes.encoder.serve([request(caller=Caller.HTTP)])
    (fused,) = nodes.fused.serve([request(caller=Caller.HTTP)], Outbox())
    for answer in (refused, fused):
        assert (answer.status, answer.reason, answer.retry_after) == (503, "draining", 1)
        assert told(answer, 503)["retry"] == "later"
    (passed_on,) = nodes.through(request())
    assert told(passed_on, 503)["message"] == told(fused, 503)["message"]
    assert held == []  # a refusal is no work
    (drawn,) = nodes.decoder.serve([request(fields={"body": ticket.body}, caller=Caller.HTTP)], Outbox())
    assert frames(drawn).shape == (1, 64, 96, 3)
    assert held == ["held"]
