"""What OUTPUT stands for, and what is tried and told before any frame is made."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from eden_client.api.traffic import Traffic
from eden_client.cli.main import _order
from eden_client.cli.options import parser
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from eden_client.film.write.targets import Kind, kind_of
from media import MediaError, encode_video
from tests.unit.client.film.odd_films import damaged
from tests.unit.client.film.sound_films import Sound, hear, patch, write_source

pytestmark = pytest.mark.slow

FRAMES = [np.full((32, 64, 3), level, np.uint8) for level in range(0, 240, 20)]


class Drawing:
    """In a server's place: blends the two frames, and counts what it is asked for."""

    window, seed, takes_planes, trace = 2, 0, True, None

    def __init__(self) -> None:
        self.traffic, self.pairs = Traffic(), 0

    def between(self, frames, yuv=None):
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

    def progress(self, frames, limit, drawn):
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


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("out.mp4", Kind.VIDEO),
        ("a:b.mp4", Kind.VIDEO),
        ("-out.MKV", Kind.VIDEO),
        ("part%d.mov", Kind.VIDEO),
        ("part%02d.gif", Kind.GIF),
        ("shot%06d.png", Kind.FOLDER),
        ("shot%06d.tiff", Kind.FOLDER),
        ("shots/", Kind.FOLDER),
        ("a.mp4/", Kind.FOLDER),
        ("shots", Kind.FOLDER),
        ("-", Kind.PIPE),
    ],
)
def test_kinds(name, kind):
    assert kind_of(name) is kind


@pytest.mark.parametrize("stem", ["Alien:Romulus", "-film", "pipe:1", "concat:a|b", "part%d", "http:x"])
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".gif"])
def test_any_name_will_do_for_input_and_output(source, place, monkeypatch, stem, ending):
    monkeypatch.chdir(place)
    given = source.rename(place / f"{stem}.mp4").name
    assert make(given, f"{stem} out{ending}", fps=Fraction(50))[0] == []
    assert codec_of(place / f"{stem} out{ending}")[1] == 24
    assert sorted(path.name for path in place.iterdir()) == sorted([given, f"{stem} out{ending}"])


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


# ---------------------------------------------------------------- tried before


def test_what_is_left_out_is_told_before_a_frame_is_made(tmp_path):
    film = write_source(tmp_path / "in.mkv", [Sound("aac"), Sound("libmp3lame"), Sound("flac")])
    patch(film, b"A_MPEG/L3", b"A_XXXX/YZ")
    early, notes = make(film, tmp_path / "out.mov")
    assert (
        early
        == notes
        == [
            "sound track 2 is left out: FFmpeg does not know its codec",
            "sound track 3 is encoded anew as aac: mov cannot hold flac",
        ]
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.mov"]


@pytest.mark.parametrize(
    ("ending", "wishes", "wrong"),
    [
        (".mp4", {"preset": "nonsense"}, "libx264 cannot encode this"),
        (".mkv", {"codec": "rawvideo"}, r"out\.mkv: raw video is not written to \.mkv: ffv1 is lossless too"),
        (".mov", {"codec": "rawvideo"}, r"out\.mov: raw video is not written to \.mov: ffv1 is lossless too"),
        (
            ".mp4",
            {"codec": "mjpeg"},
            r"out\.mp4: mjpeg cannot encode this: Invalid argument \(64x32 in yuv420p, 50 per second\)",
        ),
        (".mov", {"codec": "vnull"}, r"out\.mov: \.mov cannot hold vnull"),
    ],
)
def test_what_cannot_be_written_is_told_before_a_frame_is_made(source, place, ending, wishes, wrong):
    with pytest.raises(MediaError, match=wrong):
        make(source, place / f"out{ending}", **wishes)
    assert not list(place.iterdir())


def test_a_resumed_film_is_tried_with_what_is_there(tmp_path, monkeypatch):
    film = write_source(tmp_path / "in.mkv", [Sound("flac")])
    monkeypatch.setattr("eden_client.film.plan.segmentation.FIRST", (4, 4, 4))
    gone = Drawing()
    between = gone.between

    def breaks_off(frames, yuv=None):
        if gone.pairs >= 7:
            raise MediaError("the server is gone")
        return between(frames, yuv)

    gone.between = breaks_off
    order = Order(str(film), str(tmp_path / "out.mov"), cuts=None, duplicates="off")
    with pytest.raises(MediaError, match="gone"):
        interpolate_film(order, gone, Told(gone))
    parts = tmp_path / "out.mov.parts"
    done = sum(each["frames"] for each in json.loads((parts / "journal.json").read_text())["segments"])
    assert done >= 4 and not list(parts.glob("trial*"))
    early, notes = make(film, tmp_path / "out.mov", resume=True)
    assert early == notes == ["sound track 1 is encoded anew as aac: mov cannot hold flac"]
    assert codec_of(tmp_path / "out.mov") == ("h264", 19)


# ---------------------------------------------------------------- recordings one behind the other


def test_recordings_put_one_behind_the_other_are_one_film(tmp_path):
    """Two MPEG transport streams by cat: the clock of both begins at the same time."""
    parts = [write_source(tmp_path / f"{pitch}.ts", [Sound("mp2", pitch=pitch)]) for pitch in (440, 660)]
    (tmp_path / "in.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    _, notes = make(tmp_path / "in.ts", tmp_path / "out.mp4")
    assert notes == ["clock restarts bridged: 1", "sound track 1: clock restarts bridged: 1"]
    with av.open(tmp_path / "out.mp4") as film:
        times = [frame.pts * frame.time_base for frame in film.decode(video=0)]
    assert len(times) == 39 and all(b - a == Fraction(1, 20) for a, b in itertools.pairwise(times))
    heard = hear(tmp_path / "out.mp4")
    assert heard.seconds == pytest.approx(2, abs=0.1) and heard.end == pytest.approx(2, abs=0.1)


# ---------------------------------------------------------------- damage


def test_a_damaged_picture_takes_no_time_from_the_film(tmp_path):
    source = damaged(write_source(tmp_path / "in.mkv", [Sound("mp2")]), [4])
    _, notes = make(source, tmp_path / "out.mp4")
    assert len(notes) == 1 and notes[0].startswith("damaged samples of the video: 1 (for ")
    with av.open(tmp_path / "out.mp4") as film:
        times = [frame.pts * frame.time_base for frame in film.decode(video=0)]
    assert times == [Fraction(number, 20) for number in range(19)]
    assert hear(tmp_path / "out.mp4").end == pytest.approx(hear(source).end, abs=0.05)


def test_a_strict_run_that_ended_at_damage_may_be_resumed_without(tmp_path):
    source = damaged(write_source(tmp_path / "in.mkv", [Sound("mp2")]), [4])
    args = parser().parse_args([str(source), str(tmp_path / "out.mp4"), "--strict", "--duplicates", "off"])
    drawing = Drawing()
    with pytest.raises(MediaError, match=r"damaged-in\.mkv: damaged video data"):
        interpolate_film(_order(args), drawing, Told(drawing))
    make(source, tmp_path / "whole.mp4")
    make(source, tmp_path / "out.mp4", resume=True)
    assert codec_of(tmp_path / "out.mp4") == codec_of(tmp_path / "whole.mp4") == ("h264", 19)


# ---------------------------------------------------------------- GIFs


def test_a_gif_faster_than_gifs_are_is_refused_at_once(tmp_path, place):
    encode_video(FRAMES, Fraction(60), tmp_path / "in.mp4")
    with pytest.raises(MediaError, match=r"a GIF holds 100 frames per second at most, not 120: --fps"):
        make(tmp_path / "in.mp4", place / "out.gif")
    assert not list(place.iterdir())
    early, _ = make(tmp_path / "in.mp4", place / "out.gif", fps=Fraction(50))
    assert early == [] and codec_of(place / "out.gif")[0] == "gif"


def test_frames_of_a_gif_that_come_too_soon_are_left_out(tmp_path):
    pictures = [Image.fromarray(frame) for frame in FRAMES[:5]]
    delays = [200, 10, 200, 10, 200]
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=delays)
    _, notes = make(tmp_path / "in.gif", tmp_path / "out.gif")
    assert notes == ["2 frames less than 10 ms apart are left out: a GIF has no shorter times (--fps 50)"]
    with av.open(tmp_path / "out.gif") as film:
        times = [frame.pts for frame in film.decode(video=0)]
    assert len(times) == 7 and times == sorted(set(times))
