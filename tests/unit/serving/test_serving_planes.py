"""Frames as planes through encoder, decoder and the fused node: what is drawn of them, and what is refused."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest
import torch

import media
from eden.planes import Planes, YuvFormat, to_planes, to_rgb
from media.region_format import CONTENT_TYPE
from serving.regions import RegionFolder
from serving.request import Caller, Request
from serving.settings import Limits
from tests.e2e.servers import moving_frames
from tests.region_files import RegionFile
from tests.unit.serving.conftest import Outbox

FORMAT = YuvFormat("bt601", "full")
SAID = {"x-eden-layout": "i420", "x-eden-matrix": "bt601", "x-eden-range": "full"}


def as_planes(frames: np.ndarray, format: YuvFormat = FORMAT) -> np.ndarray:
    return to_planes(torch.from_numpy(frames).permute(0, 3, 1, 2), format).samples.numpy()


PLANES = as_planes(moving_frames(4, 48, 64))


def request(
    body: bytes, headers: dict[str, str] = SAID, caller: Caller = Caller.HTTP, index: int = 0, **fields: object
) -> Request:
    return Request(index, {"body": body} | fields, headers, caller)


def array(answer) -> np.ndarray:
    assert (answer.status, answer.content_type) == (200, "application/x-npy"), answer.body
    return np.load(io.BytesIO(answer.body))


def message(answer, code: int = 400) -> str:
    told = json.loads(answer.body)
    assert answer.status == told["code"] == code and told["retry"] == "never"
    return told["message"]


def drawn(nodes, planes: np.ndarray = PLANES, format: YuvFormat = FORMAT) -> np.ndarray:
    """What both halves draw of those frames, without a request."""
    output = nodes.fused._encoder.encode(to_rgb(Planes(torch.from_numpy(planes), format)))
    (frames,) = nodes.fused._drawing._decoder.interpolate([output], as_uint8=True)
    return to_planes(frames, format).samples.numpy()


def test_fused_draws_planes_of_planes(nodes):
    (answer,) = nodes.fused.serve([request(media.encode_npy(PLANES))], Outbox())
    assert array(answer).shape == (3, 72, 64)
    assert np.array_equal(array(answer), drawn(nodes))


@pytest.mark.parametrize("format", [YuvFormat(), YuvFormat("bt2020", "full")], ids=str)
def test_matrix_and_range_travel_in_the_ticket(nodes, format):
    planes = as_planes(moving_frames(3, 48, 64), format)
    said = {"layout": b"i420", "matrix": format.matrix.encode(), "range": format.range}
    (split,) = nodes.through(request(media.encode_npy(planes), {}, Caller.WORKFLOW, **said))
    assert np.array_equal(array(split), drawn(nodes, planes, format))
    (ticket,) = nodes.encoder.serve([request(media.encode_npy(planes), {}, **said)])
    (chained,) = nodes.decoder.serve([request(ticket.body, {})], Outbox())
    assert np.array_equal(array(chained), array(split))


def test_what_is_not_said_is_bt709_and_limited(nodes):
    (answer,) = nodes.fused.serve([request(media.encode_npy(PLANES), {"x-eden-layout": "I420 "})], Outbox())
    assert np.array_equal(array(answer), drawn(nodes, format=YuvFormat()))
    assert not np.array_equal(array(answer), drawn(nodes))


def test_a_batch_may_hold_both_and_other_colours(nodes):
    frames = moving_frames(4, 48, 64)
    requests = [
        request(media.encode_npy(PLANES), SAID, Caller.WORKFLOW),
        request(media.encode_npy(frames), {}, Caller.WORKFLOW, 1),
        request(media.encode_npy(PLANES), {"x-eden-layout": "i420"}, Caller.WORKFLOW, 2),
        request(media.encode_npy(PLANES[:, :71]), SAID, Caller.WORKFLOW, 3),
    ]
    alone = [nodes.fused.serve([request(r.fields["body"], r.headers)], Outbox())[0] for r in requests[:3]]
    for serve in (lambda: nodes.fused.serve(requests, Outbox()), lambda: nodes.through(*requests)):
        answers = serve()
        for answer, other in zip(answers[:3], alone, strict=True):
            assert np.abs(array(answer).astype(int) - array(other)).max() <= 1
        assert "[4, 71, 64]" in message(answers[3])


def test_a_long_clip_is_drawn_in_windows(make_nodes):
    whole = make_nodes()
    few = make_nodes(window_bytes=whole.layout.nbytes(3, 48, 64))
    (answer,) = few.fused.serve([request(media.encode_npy(PLANES))], Outbox())
    assert np.abs(array(answer).astype(int) - drawn(whole)).max() <= 1


@pytest.mark.parametrize("node", ["fused", "chain"])
def test_a_stream_is_of_planes(nodes, node):
    outbox = Outbox()
    stream = SAID | {"x-eden-stream": "1"}
    if node == "fused":
        nodes.fused.serve([request(media.encode_npy(PLANES), stream)], outbox)
    else:
        (ticket,) = nodes.encoder.serve([request(media.encode_npy(PLANES))])
        nodes.decoder.serve([request(ticket.body, stream)], outbox)
    parts = [part.partition(b"\r\n\r\n")[2][:-2] for part in outbox.parts[0]]
    frames = np.concatenate([np.load(io.BytesIO(part)) for part in parts])
    assert frames.shape == (3, 72, 64)
    assert np.abs(frames.astype(int) - drawn(nodes)).max() <= 1


@pytest.mark.parametrize("headers", [{}, SAID])
@pytest.mark.parametrize("caller", [Caller.HTTP, Caller.WORKFLOW])
def test_a_region_of_planes(make_nodes, tmp_path, headers, caller):
    nodes = make_nodes(regions=RegionFolder(tmp_path))
    region = RegionFile.write(tmp_path, PLANES)
    body = region.body(layout="i420", matrix="bt601", range="full")
    described = request(body, headers | {"content-type": CONTENT_TYPE}, caller)
    expected = drawn(nodes)
    for serve in (lambda: nodes.fused.serve([described], Outbox()), lambda: nodes.through(described)):
        (answer,) = serve()
        assert answer.content_type == CONTENT_TYPE, answer.body
        assert json.loads(answer.body) == {
            "layout": "i420", "dtype": "uint8", "shape": [3, 72, 64], "offset": region.answer, "first": 0
        }  # fmt: skip
        assert np.array_equal(region.between, expected)
        region.path.write_bytes(region.path.read_bytes()[: region.answer].ljust(region.path.stat().st_size, b"\xee"))


def test_a_region_of_planes_is_streamed_and_may_be_answered_with_a_body(make_nodes, tmp_path):
    nodes = make_nodes(regions=RegionFolder(tmp_path))
    region = RegionFile.write(tmp_path, PLANES)
    outbox = Outbox()
    body = region.body(layout="i420", matrix="bt601", range="full")
    nodes.fused.serve([request(body, {"content-type": CONTENT_TYPE, "x-eden-stream": "1"})], outbox)
    told = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in outbox.parts[0]]
    assert [(part["offset"], part["shape"]) for part in told] == [
        (region.answer + i * 72 * 64, [1, 72, 64]) for i in range(3)
    ]
    assert np.abs(region.between.astype(int) - drawn(nodes)).max() <= 1
    body = region.body(layout="i420", matrix="bt601", range="full", answer=...)
    (answer,) = nodes.fused.serve([request(body, {"content-type": CONTENT_TYPE})], Outbox())
    assert np.array_equal(array(answer), drawn(nodes))


def test_options_and_a_description_that_contradict_each_other(make_nodes, tmp_path):
    nodes = make_nodes(regions=RegionFolder(tmp_path))
    planes, rgb = RegionFile.write(tmp_path, PLANES), RegionFile.write(tmp_path, moving_frames(3, 48, 64))
    (other,) = nodes.fused.serve([request(planes.body(layout="i420"), SAID | {"content-type": CONTENT_TYPE})], Outbox())
    assert "i420 (bt601, full range), but the region's description says i420 (bt709, limited range)" in message(other)
    (answer,) = nodes.fused.serve([request(rgb.body(), SAID | {"content-type": CONTENT_TYPE})], Outbox())
    assert "the region's description says rgb24" in message(answer)


def test_the_decoder_answers_as_the_frames_came(nodes):
    planes, rgb = nodes.encoder.serve(
        [request(media.encode_npy(PLANES)), request(media.encode_npy(moving_frames(3, 48, 64)), {}, index=1)]
    )
    refused = {
        (planes.body, ("x-eden-layout", "i420")): "the ticket says i420 (bt601, full range)",
        (rgb.body, ("x-eden-layout", "i420")): "the ticket says rgb24",
        (planes.body, ("accept", "image/png")): "i420, which png does not hold",
    }
    for (ticket, header), words in refused.items():
        (answer,) = nodes.decoder.serve([request(ticket, dict([header]))], Outbox())
        assert words in message(answer)
    (answer,) = nodes.decoder.serve([request(planes.body, SAID)], Outbox())
    assert array(answer).shape == (3, 72, 64)


PICTURES = {f"frame{i}": media.encode_image(frame, "png") for i, frame in enumerate(moving_frames(2))}


def film() -> bytes:
    target = io.BytesIO()
    media.encode_video(list(moving_frames(3)), Fraction(12), target)
    return target.getvalue()


@pytest.mark.parametrize(
    ("fields", "headers", "words"),
    [
        (PICTURES, {}, "the frames are pictures: send a .npy"),
        ({"body": film()}, {}, "the body is no .npy"),
        ({"body": b"no clip"}, {}, "the body is no .npy"),
        (
            {"body": media.encode_npy(moving_frames(2))},
            {},
            "i420 are [K, H*3/2, W] with even H and W, not [2, 64, 96, 3]",
        ),
        ({"body": media.encode_npy(PLANES[:, :70])}, {}, "not [4, 70, 64]"),
        ({"body": media.encode_npy(PLANES[:, :, :63].copy())}, {}, "not [4, 72, 63]"),
        ({"body": media.encode_npy(PLANES[:1])}, {}, "1 frame: at least two"),
        ({"body": media.encode_npy(PLANES[:, :12, :8].copy())}, {}, "8x8 pixels: a side must be at least 16"),
        ({"body": media.encode_npy(PLANES.astype(np.uint16))}, {}, "uint8 [K, H*3/2, W]"),
        ({"body": media.encode_npy(PLANES)}, {"x-eden-layout": "rgb24"}, "rgb24 are [K, H, W, 3], not [4, 72, 64]"),
        *(
            ({"body": media.encode_npy(PLANES)}, {"x-eden-format": format}, f"i420, which {format} does not hold")
            for format in ("mp4", "png", "jpeg", "webp", "zip")
        ),
        ({"body": media.encode_npy(PLANES)}, {"accept": "video/mp4"}, "i420, which mp4 does not hold"),
        ({"body": media.encode_npy(PLANES)}, {"x-eden-format": "region"}, "no region with room"),
    ],
)
def test_what_planes_are_not(nodes, fields, headers, words):
    for node in (nodes.encoder, nodes.fused):
        sent = Request(0, fields, {"x-eden-layout": "i420"} | headers, Caller.HTTP)
        (answer,) = node.serve([sent], *([Outbox()] if node is nodes.fused else []))
        assert words in message(answer)


def test_limits_count_pixels(make_nodes):
    """Not samples, of which planes have half as many again."""
    body = media.encode_npy(PLANES)
    few = make_nodes(Limits(max_pixels=48 * 64, max_clip_pixels=4 * 48 * 64))
    assert array(few.fused.serve([request(body)], Outbox())[0]).shape == (3, 72, 64)
    (answer,) = make_nodes(Limits(max_clip_pixels=3 * 48 * 64, max_pixels=48 * 64)).fused.serve(
        [request(body)], Outbox()
    )
    assert "a clip of 4 frames of 64x48 pixels: at most 3" in message(answer, 413)
    (answer,) = make_nodes(Limits(max_pixels=48 * 64 - 1)).fused.serve([request(body)], Outbox())
    assert "a frame of 64x48 = 3072 pixels" in message(answer, 413)


def test_reading_planes_takes_half_of_what_rgb_does():
    frames = moving_frames(4, 480, 640)
    beside = media.peek(media.encode_npy(frames)).decode_bytes - frames.nbytes
    planes = media.peek(media.encode_npy(as_planes(frames)), layout="i420")
    assert (planes.height, planes.width, planes.frames) == (480, 640, 4)
    assert planes.decode_bytes - beside == frames.nbytes / 2
