"""Every kind of request and answer, against a real TorchServe; pictures checked against the model itself."""

from __future__ import annotations

import io
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch

import media
from eden import DitDecoder, Encoder
from eden.random_weights import write_random
from server.api import BINARY
from tests.e2e.servers import PREDICT, WORKFLOW, assert_same, moving_frames


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("served")
    write_random(checkpoint)  # what `pack` packs
    return Encoder.load(checkpoint), DitDecoder.load(checkpoint)


def expected(model, frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """[K-1, H, W, 3] uint8 by the model in this process."""
    encoder, decoder = model
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
    (between,) = decoder.interpolate([encoder.encode(clip)], seeds=[seed])
    return (between * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def pictures(frames: np.ndarray, format: str = "png") -> list[tuple[str, tuple[str, bytes]]]:
    return [(f"frame{i}", (f"{i}.{format}", media.encode_image(f, format))) for i, f in enumerate(frames)]


def decoded(data: bytes) -> np.ndarray:
    return media.decode_image(data, max_pixels=10**7)


def array(frames: np.ndarray) -> bytes:
    return media.encode_npy(frames)


@pytest.mark.parametrize("path", [WORKFLOW])
def test_two_pngs_give_the_png_between(server, model, path):
    frames = moving_frames()
    reply = server.api.call(path, files=pictures(frames))
    assert reply.status_code == 200
    assert reply.content.startswith(b"\x89PNG")
    assert_same(decoded(reply.content)[None], expected(model, frames))


def test_the_seed_counts_and_is_repeatable(server, model):
    frames = moving_frames()
    replies = [server.api.call(WORKFLOW, files=pictures(frames), data={"seed": seed}).content for seed in (7, 7, 8)]
    assert replies[0] == replies[1]
    assert replies[0] != replies[2]
    assert_same(decoded(replies[0])[None], expected(model, frames, 7))


def test_repeated_fields_are_frames_in_their_order(server, model):
    frames = moving_frames(3)
    files = [("frames", (f"{i}.png", media.encode_image(frame, "png"))) for i, frame in enumerate(frames)]
    reply = server.api.call(WORKFLOW, files=files, data={"format": "npy"})
    assert_same(np.load(io.BytesIO(reply.content)), expected(model, frames))


@pytest.mark.parametrize("size", [(16, 16), (33, 40), (70, 101)])
def test_odd_sizes(server, model, size):
    frames = moving_frames(2, *size)
    reply = server.api.call(WORKFLOW, data=array(frames), headers=BINARY)
    assert_same(np.load(io.BytesIO(reply.content)), expected(model, frames))


@pytest.mark.parametrize(("format", "magic"), [("jpeg", b"\xff\xd8"), ("webp", b"RIFF"), ("png", b"\x89PNG")])
def test_formats_by_accept_and_by_field(server, format, magic):
    frames = moving_frames()
    by_header = server.api.call(WORKFLOW, files=pictures(frames), headers={"Accept": f"image/{format}"})
    by_field = server.api.call(WORKFLOW, files=pictures(frames, "webp"), data={"format": format, "quality": "50"})
    assert by_header.content.startswith(magic)
    assert by_field.content.startswith(magic)


def test_quality(server):
    frames = moving_frames()
    sizes = [
        len(server.api.call(WORKFLOW, files=pictures(frames), data={"format": "jpeg", "quality": q}).content)
        for q in ("5", "95")
    ]
    assert sizes[0] < sizes[1] / 2


def test_several_pictures_give_a_zip(server, model):
    frames = moving_frames(4)
    reply = server.api.call(WORKFLOW, files=pictures(frames))
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        between = np.stack([decoded(archive.read(name)) for name in archive.namelist()])
    assert_same(between, expected(model, frames))


def test_an_array_gives_an_array_and_a_clip_equals_its_pairs(server, model):
    frames = moving_frames(5)
    whole = np.load(io.BytesIO(server.api.call(WORKFLOW, data=array(frames), headers=BINARY).content))
    pairs = [
        np.load(io.BytesIO(server.api.call(WORKFLOW, data=array(frames[i : i + 2]), headers=BINARY).content))
        for i in range(4)
    ]
    assert_same(whole, expected(model, frames))
    assert_same(np.concatenate(pairs), whole)


@pytest.mark.parametrize("as_form", [False, True])
def test_a_video_of_24_frames_gives_one_of_47_at_twice_the_rate(server, as_form):
    target = io.BytesIO()
    media.encode_video(list(moving_frames(24)), Fraction(12), target)
    if as_form:
        reply = server.api.call(WORKFLOW, files={"video": ("clip.mp4", target.getvalue())}, data={"seed": "3"})
    else:
        headers = {"Content-Type": "video/mp4"}
        reply = server.api.call(WORKFLOW, data=target.getvalue(), headers=headers)
    with media.open_video(reply.content) as video:
        assert video.rate == Fraction(24)
        assert len(list(video.frames())) == 47


def test_frames_can_be_asked_for_as_an_mp4(server):
    frames = moving_frames(3)
    reply = server.api.call(WORKFLOW, files=pictures(frames), data={"format": "mp4", "fps": "30000/1001"})
    with media.open_video(reply.content) as video:
        assert video.rate == Fraction(60000, 1001)
        assert len(list(video.frames())) == 5


def test_the_halves_by_themselves_with_true_content_types(server, model):
    frames = moving_frames(3)
    ticket = server.api.call(PREDICT[0], files=pictures(frames), data={"seed": "5"})
    assert (ticket.status_code, ticket.headers["content-type"]) == (200, "application/vnd.eden.ticket")
    assert len(ticket.content) < 2000
    headers = BINARY | {"Accept": "application/x-npy"}
    reply = server.api.call(PREDICT[1], data=ticket.content, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-npy")
    assert_same(np.load(io.BytesIO(reply.content)), expected(model, frames, 5))


def test_a_streamed_answer_comes_frame_by_frame(server, model):
    frames = moving_frames(4, 128, 160)
    ticket = server.api.call(PREDICT[0], data=array(frames), headers=BINARY)
    headers = BINARY | {"X-Eden-Stream": "1", "Accept": "image/png"}
    reply = server.api.call(PREDICT[1], data=ticket.content, headers=headers, stream=True)
    assert reply.headers["content-type"] == "multipart/x-mixed-replace; boundary=eden-frame"
    chunks = [chunk for chunk in reply.raw.stream(decode_content=False) if chunk]
    assert len(chunks) == 4  # three frames and the closing boundary, each sent when it was made
    between = [decoded(chunk.split(b"\r\n\r\n", 1)[1]) for chunk in chunks[:3]]
    assert_same(np.stack(between), expected(model, frames))


def test_a_workflow_ignores_the_wish_to_stream(server, model):
    frames = moving_frames(3)
    headers = BINARY | {"X-Eden-Stream": "1"}
    reply = server.api.call(WORKFLOW, data=array(frames), headers=headers)
    assert_same(np.load(io.BytesIO(reply.content)), expected(model, frames))
