"""Frames as planes of 4:2:0: as they are to a server that takes them, as RGB to one that does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eden_client import EdenClient, Refused, TooLarge, YuvFormat
from eden_client.api.routes import FUSED_PATH, WORKFLOW_PATH
from media import MediaError, decode_image, decode_npy, encode_image, encode_npy
from media.region_format import CONTENT_TYPE
from serving.answer import as_part, stream_end
from serving.regions import RegionFolder
from tests.unit.client.told import envelope, mean

FORMATS = [YuvFormat(matrix, range_) for matrix in ("bt601", "bt709", "bt2020") for range_ in ("limited", "full")]
LIMITED = YuvFormat("bt709", "limited")


def smooth(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """RGB that 4:2:0 holds well."""
    y, x = np.mgrid[:height, :width]
    return [np.stack([5 * x, 7 * y, 2 * (x + y + 9 * i)], -1).astype(np.uint8) // 2 + 60 for i in range(count)]


PLANES = [LIMITED.from_rgb(frame) for frame in smooth(4)]
MEANS = np.stack([mean(*PLANES[i : i + 2]) for i in range(3)])


@pytest.fixture(params=["npy", "region"])
def host(request, told, tmp_path):
    """A server that draws means of planes, by the server's own readers, and says what it was sent."""

    def means(frames):
        return ((frames[:-1].astype(int) + frames[1:]) // 2).astype(np.uint8)

    def by_body(body):
        layout = told.headers[-1].get("X-Eden-Layout", "rgb24")
        return 200, encode_npy(means(decode_npy(body, max_pixels=1 << 20, max_frames=99, layout=layout)))

    def by_region(body):
        source = RegionFolder(tmp_path).look_at(body)
        made, place = means(source.read()), source.description.answer
        if told.paths[-1] == WORKFLOW_PATH or len(made) == 1:
            return 200, RegionFolder(tmp_path).write(place, made)
        said = [RegionFolder(tmp_path).write(place, made[i : i + 1], i) for i in range(len(made))]
        return 200, b"".join(as_part(part, CONTENT_TYPE) for part in said) + stream_end()

    told.takes_regions = request.param == "region"
    told.draw = by_region if told.takes_regions else by_body
    return told


def client_of(told, tmp_path, **options) -> EdenClient:
    folder = tmp_path if told.takes_regions else tmp_path / "none"
    return EdenClient(told.url, **{"route": "workflow", "region_folder": folder, "patience": 60} | options)


def said_of(told) -> dict[str, str]:
    """Layout, matrix and range of the last request, wherever that says them."""
    if told.takes_regions:
        body = json.loads(told.bodies[-1])
        return {name: body.get(name) for name in ("layout", "matrix", "range")}
    return {name: told.headers[-1].get(f"X-Eden-{name.capitalize()}") for name in ("layout", "matrix", "range")}


@pytest.mark.parametrize("yuv", FORMATS, ids=str)
def test_planes_go_and_come_as_they_are(host, tmp_path, yuv):
    with client_of(host, tmp_path) as client:
        assert np.array_equal(client.interpolate_clip(PLANES, yuv), MEANS)
        assert np.array_equal(client.interpolate_pair(*PLANES[:2], yuv), MEANS[0])
        assert client.traffic.retries == 0
        sent = client.traffic.bytes_sent
    assert said_of(host) == {"layout": "i420", "matrix": yuv.matrix, "range": yuv.range}
    assert sent < 6 * PLANES[0].nbytes + 2 * 4096
    assert len(host.bodies) == 2


def test_rgb_says_nothing_of_planes(host, tmp_path):
    frames = smooth(2)
    with client_of(host, tmp_path) as client:
        assert np.array_equal(client.interpolate_pair(*frames), mean(*frames))
    assert said_of(host) == {"layout": "rgb24" if host.takes_regions else None, "matrix": None, "range": None}


def test_planes_are_streamed(told, tmp_path):
    def draw(body):
        frames = decode_npy(body, max_pixels=1 << 20, max_frames=99, layout=told.headers[-1]["X-Eden-Layout"])
        parts = [encode_npy(mean(*frames[i : i + 2])[None]) for i in range(len(frames) - 1)]
        return 200, b"".join(as_part(part, "application/x-npy") for part in parts) + stream_end()

    told.draw = draw
    with client_of(told, tmp_path, route="fused") as client:
        assert np.array_equal(list(client.between(PLANES, LIMITED)), MEANS)
    assert told.paths == [FUSED_PATH]


def test_a_film_of_planes_is_streamed_pair_by_pair(host, tmp_path):
    with client_of(host, tmp_path) as client:
        assert np.array_equal(list(client.stream(iter(PLANES), LIMITED)), MEANS)


def older(draw):
    """A server from before there were planes, which answers RGB as `draw` does."""

    def answer(body):
        try:
            if body.startswith(b"{") and json.loads(body)["layout"] != "rgb24":
                return 400, envelope(400, "BadRequest", "a region's layout is rgb24", retry="never")
            if body.startswith(b"\x93"):
                decode_npy(body, max_pixels=1 << 20, max_frames=99)
        except MediaError as error:
            return 400, envelope(400, "MediaError", str(error), retry="never")
        return draw(body)

    return answer


def test_an_older_server_gets_rgb_from_then_on(host, tmp_path):
    draw = host.draw

    def rgb(body):
        host.headers[-1].pop("X-Eden-Layout", None)  # which such a server does not look at
        return draw(body)

    host.draw = older(rgb)
    with client_of(host, tmp_path) as client:
        for _ in range(2):
            made = client.interpolate_clip(PLANES, LIMITED)
            assert made.shape == MEANS.shape and np.abs(made.astype(int) - MEANS).max() <= 3
        assert client.traffic.retries == 0
    assert len(host.bodies) == 3
    if host.takes_regions:
        assert [json.loads(body)["layout"] for body in host.bodies] == ["i420", "rgb24", "rgb24"]


def test_once_planes_have_worked_a_refusal_is_one(host, tmp_path):
    with client_of(host, tmp_path) as client:
        client.interpolate_clip(PLANES, LIMITED)
        host.answers = [(400, envelope(400, "BadRequest", "no", retry="never"))]
        with pytest.raises(Refused, match="no"):
            client.interpolate_clip(PLANES, LIMITED)
    assert len(host.bodies) == 2


def test_what_is_too_large_is_no_sign_of_an_older_server(host, tmp_path):
    host.answers = [(413, envelope(413, "TooLarge", "no", retry="never"))]
    with client_of(host, tmp_path) as client:
        with pytest.raises(TooLarge):
            client.interpolate_clip(PLANES, LIMITED)
        client.interpolate_clip(PLANES, LIMITED)
    assert said_of(host)["layout"] == "i420"


def test_as_pngs_they_are_rgb(told, tmp_path):
    told.draw = lambda body: encode_image(smooth(1)[0], "png")
    with client_of(told, tmp_path, transport="png") as client:
        assert not client.takes_planes
        made = client.interpolate_pair(*PLANES[:2], LIMITED)
    assert np.array_equal(made, LIMITED.from_rgb(smooth(1)[0]))
    pictures = told.bodies[0].split(b"\x89PNG")[1:]
    for picture, planes in zip(pictures, PLANES[:2], strict=True):
        assert np.array_equal(decode_image(b"\x89PNG" + picture, max_pixels=1 << 20), LIMITED.to_rgb(planes))


@pytest.mark.parametrize("yuv", FORMATS, ids=str)
def test_conversion_there_and_back(yuv):
    for frame in smooth(2):
        planes = yuv.from_rgb(frame)
        assert planes.shape == (48, 48) and planes.flags.c_contiguous
        again = yuv.to_rgb(planes)
        assert again.shape == frame.shape and np.abs(again.astype(int) - frame).mean() < 1.5
    grey = np.full((6, 4, 3), 255, np.uint8)
    assert set(yuv.from_rgb(grey)[:6].ravel()) == {235 if yuv.range == "limited" else 255}


@pytest.mark.parametrize(
    ("frames", "wrong"),
    [
        ([PLANES[0][:-1], PLANES[1][:-1]], r"\[H\*3/2, W\] with even H and W, not uint8 \[47, 48\]"),
        ([PLANES[0][:, :-1], PLANES[1][:, :-1]], r"not uint8 \[48, 47\]"),
        (smooth(2), r"not uint8 \[32, 48, 3\]"),
        ([PLANES[0].astype(float)] * 2, r"not float64"),
        ([PLANES[0], PLANES[1][:, :-2]], r"one size"),
        (PLANES[:1], "at least two"),
    ],
)
def test_what_are_no_planes_is_refused_before_anything_is_sent(told, tmp_path, frames, wrong):
    with client_of(told, tmp_path) as client, pytest.raises(Refused, match=wrong):
        client.interpolate_clip(frames, LIMITED)
    assert not told.bodies


def test_unknown_formats_are_named():
    with pytest.raises(ValueError, match="'bt1886' is not one of bt709, bt601, bt2020"):
        YuvFormat("bt1886")
    with pytest.raises(ValueError, match="'tv' is not one of limited, full"):
        YuvFormat(range="tv")
