"""Films whose frames travel as the planes that they consist of, and those whose frames have to be RGB."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from eden_client.api.yuv import YuvFormat
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from eden_client.film.write import pipe_result
from tests.clip import CLIP
from tests.unit.client.film.drawing import Drawing, Silent

FRAMES = [frame[:46, :62] for frame in CLIP[:6]]
"""Even sides, of which neither is a multiple of four."""


class Noting(Drawing):
    """Takes down what it is sent."""

    def __init__(self, takes_planes=True):
        super().__init__()
        self.takes_planes, self.sent, self.formats, self.made = takes_planes, [], set(), []

    def between(self, frames, yuv=None):
        self.sent.append(frames)
        self.formats.add(yuv)
        for frame in super().between(frames, yuv):
            self.made.append(frame)
            yield frame


def film_file(path, pixel_format="yuv420p", codec="ffv1", matrix=1, range_=1, frames=FRAMES, **more):
    """A film as lossless as its pixel format."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        for name, value in more.items():
            setattr(stream.codec_context, name, value)
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format=pixel_format)
            picture.colorspace, picture.color_range = matrix, range_
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def made(source, target, client=None, **wishes):
    client = client or Noting()
    order = Order(str(source), str(target), **{"cuts": None, "duplicates": "off", "overwrite": True} | wishes)
    interpolate_film(order, client, Silent())
    return client


def planes_in(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("size", [(46, 62), (48, 64), (44, 64)])
def test_no_sample_changes_on_the_way(tmp_path, size):
    """Neither of the source's pictures nor of those between, in a film that loses nothing."""
    height, width = size
    source = film_file(tmp_path / "in.mkv", frames=[frame[:height, :width] for frame in CLIP[:6]])
    client = made(source, tmp_path / "out.mkv", codec="ffv1")
    own, result = planes_in(source), planes_in(tmp_path / "out.mkv")
    assert client.formats == {YuvFormat("bt709", "limited")}
    assert all(np.array_equal(a, b) for a, b in zip(result[::2], own, strict=True))
    assert in_any_order(result[1::2]) == in_any_order(client.made)
    assert in_any_order(client.sent) == in_any_order(itertools.pairwise(own))


TAGS = [
    (1, 1, YuvFormat("bt709", "limited")),
    (6, 1, YuvFormat("bt601", "limited")),
    (5, 2, YuvFormat("bt601", "full")),
    (2, 0, YuvFormat("bt601", "limited")),
    (9, 1, YuvFormat("bt2020", "limited")),
    (4, 1, None),
    (7, 1, None),
]


@pytest.mark.parametrize(("matrix", "range_", "yuv"), TAGS)
def test_colours_are_told_and_kept(tmp_path, matrix, range_, yuv):
    source = film_file(tmp_path / "in.mkv", matrix=matrix, range_=range_)
    assert made(source, tmp_path / "out.mp4").formats == {yuv}
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (matrix, range_ or frame.color_range)


def test_old_full_range_is_full(tmp_path):
    source = film_file(tmp_path / "in.mkv", "yuvj420p", "mjpeg", matrix=5, range_=2)
    client = made(source, tmp_path / "out.mp4")
    assert client.formats == {YuvFormat("bt601", "full")}
    assert in_any_order(client.sent) == in_any_order(itertools.pairwise(planes_in(source)))


NEED_RGB = {
    "finer chroma": ({"pixel_format": "yuv444p"}, {}),
    "more bits": ({"pixel_format": "yuv420p10le"}, {"target": "out.mkv", "codec": "ffv1"}),
    "no planes": ({"pixel_format": "bgr0"}, {}),
    "transparent": ({"pixel_format": "yuva420p"}, {"target": "out.webm", "codec": "vp9"}),
    "odd": ({"frames": [frame[:45, :62] for frame in CLIP[:4]]}, {}),
    "another format": ({}, {"pixel_format": "yuv444p"}),
    "pictures": ({}, {"target": "out/%02d.png"}),
    "gif": ({}, {"target": "out.gif"}),
    "comparison": ({}, {"compare": True}),
}


@pytest.mark.parametrize("why", NEED_RGB)
def test_films_that_need_rgb(tmp_path, why):
    of_source, wishes = NEED_RGB[why]
    source = film_file(tmp_path / "in.mkv", **of_source)
    client = made(source, tmp_path / wishes.pop("target", "out.mp4"), **wishes)
    assert client.formats == {None}
    assert all(frame.shape[2:] == (3,) for pair in client.sent for frame in pair)


def test_a_client_that_takes_rgb_is_sent_that(tmp_path):
    client = made(film_file(tmp_path / "in.mkv"), tmp_path / "out.mp4", Noting(takes_planes=False))
    assert client.formats == {None}


def test_a_pipe_of_planes(tmp_path, monkeypatch):
    source, piped = film_file(tmp_path / "in.mkv"), tmp_path / "out.y4m"
    with piped.open("wb") as file:
        monkeypatch.setattr(pipe_result.sys, "stdout", type("Out", (), {"buffer": file}))
        client = made(source, "-")
    assert client.formats == {YuvFormat("bt709", "limited")}
    assert in_any_order(planes_in(piped)[1::2]) == in_any_order(client.made)


@pytest.mark.parametrize("clip", [2, 4])
def test_midpoints_of_midpoints_are_planes_too(tmp_path, clip):
    client = made(film_file(tmp_path / "in.mkv"), tmp_path / "out.mkv", codec="ffv1", times=4, clip=clip)
    assert {frame.shape for pair in client.sent for frame in pair} == {(69, 62)}
    quarters = planes_in(tmp_path / "out.mkv")
    assert len(quarters) == 21
    for first, half, second in zip(quarters[::4], quarters[2::4], quarters[4::4], strict=False):
        assert np.array_equal(half, (first.astype(int) + second) // 2)


def in_any_order(arrays):
    """Calls run side by side."""
    return sorted(np.asarray(each).tobytes() for each in arrays)


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))


def test_what_planes_keep_of_a_film(tmp_path):
    """Beside RGB: the frames between, blended of both, against the film's own that were left out."""
    every = CLIP[:17]
    source = film_file(tmp_path / "in.mkv", frames=every[::2])
    found = []
    for takes_planes in (True, False):
        made(source, tmp_path / "out.mkv", Noting(takes_planes), codec="ffv1")
        with av.open(str(tmp_path / "out.mkv")) as film:
            result = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        found.append([psnr(a, b) for a, b in zip(result, every, strict=True)])
    planes, rgb = np.array(found)
    assert np.array_equal(planes[::2], rgb[::2])
    assert np.mean(planes[1::2]) >= np.mean(rgb[1::2]) - 0.05
