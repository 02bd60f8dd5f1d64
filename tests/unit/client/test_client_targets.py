"""What OUTPUT stands for, and what is tried and told before any frame is made."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from eden_client.film import interpolate_film
from eden_client.order import Order
from eden_client.traffic import Traffic
from media import MediaError, encode_video

FRAMES = [np.full((32, 48, 3), level, np.uint8) for level in range(0, 240, 20)]


class Drawing:
    """In a server's place: blends the two frames, and counts what it is asked for."""

    window, seed = 2, 0

    def __init__(self) -> None:
        self.traffic, self.pairs = Traffic(), 0

    def between(self, frames):
        for left, right in itertools.pairwise(frames):
            self.pairs += 1
            yield ((left.astype(int) + right) // 2).astype(np.uint8)


class Told:
    """Takes down what is reported."""

    def __init__(self, drawing: Drawing) -> None:
        self.notes, self.early, self._drawing = [], [], drawing

    def begin(self, source, expected, done):
        self.early = list(self.notes)
        assert self._drawing.pairs == 0

    def note(self, text):
        self.notes.append(text)

    def progress(self, frames):
        pass


def make(source, target, **wishes):
    """A film made without a server; what was told before the first frame, and in all."""
    drawing = Drawing()
    told = Told(drawing)
    try:
        interpolate_film(Order(str(source), str(target), cuts=None, duplicates="off", **wishes), drawing, told)
    except MediaError:
        assert drawing.pairs == 0
        raise
    return told.early, told.notes


def codec_of(path):
    with av.open(str(path.absolute())) as film:
        return film.streams.video[0].codec_context.codec.canonical_name, sum(1 for _ in film.decode(video=0))


@pytest.fixture
def source(tmp_path):
    encode_video(FRAMES, Fraction(25), tmp_path / "in.mp4")
    return tmp_path / "in.mp4"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


# ---------------------------------------------------------------- codecs and containers


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "prores", "ffv1"])
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_codec_is_written_or_refused_at_once(tmp_path, place, codec, ending):
    encode_video(FRAMES[:2], Fraction(25), tmp_path / "in.mp4")
    holds = {
        ".mp4": ("h264", "hevc", "vp9", "av1", "ffv1"),
        ".mov": ("h264", "hevc", "prores"),
        ".mkv": ("h264", "hevc", "vp9", "av1", "prores", "ffv1"),
        ".webm": ("vp9", "av1"),
    }
    if codec in holds[ending]:
        make(tmp_path / "in.mp4", place / f"out{ending}", codec=codec)
        assert codec_of(place / f"out{ending}") == (codec, 3)
    else:
        with pytest.raises(MediaError, match=rf"{ending} cannot hold {codec}"):
            make(tmp_path / "in.mp4", place / f"out{ending}", codec=codec)
        assert not list(place.iterdir())


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_a_codec_that_quicktime_does_not_hold_is_not_the_default_there(source, tmp_path, codec):
    make(source, tmp_path / "web.mkv", codec=codec)
    for ending, expected in ((".mov", "h264"), (".mp4", codec), (".webm", codec)):
        make(tmp_path / "web.mkv", tmp_path / f"out{ending}")
        assert codec_of(tmp_path / f"out{ending}") == (expected, 45)
