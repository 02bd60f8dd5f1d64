"""What is to be seen of an upload: the film's data, thumbnails, cuts, pairs, the file itself."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from eden_client.film.read.sources import open_film
from eden_client.film.write.scheduling import scheduling_kept
from media import decode_image
from tests.unit.web.services import AWAY, LIMITS, PATIENCE, running
from web import film_view
from web.answers import ApiError
from web.film_kinds import kind_of
from web.film_reader import Ask
from web.film_view import FilmView
from web.reader_process import ReaderProcess

pytestmark = pytest.mark.slow

RATE, COUNT, CUT = 25, 60, 35
NAME = "<i>of two & scenes.mp4"


def write(path, turn=0, codec="libx264", sound=None, key_frames=12, pictures=COUNT, pixels="yuv420p"):
    """Two scenes that pan over noise, 48x64, the second from picture CUT on."""
    random = np.random.default_rng(5)
    scenes = [random.integers(lowest, lowest + 120, (48, 64 + COUNT, 3)).astype(np.uint8) for lowest in (0, 130)]
    with scheduling_kept(), av.open(path, "w") as out:
        stream = out.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, pixels, key_frames
        if turn:
            stream.set_display_rotation(turn)
        tone = out.add_stream(sound, rate=48000) if sound else None
        for number in range(pictures):
            shown = scenes[number >= CUT][:, number : number + 64]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(shown)).reformat(format=pixels)))
        out.mux(stream.encode())
        if tone:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.rate = 48000
            out.mux(tone.encode(silence))
            out.mux(tone.encode())
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("films") / "scenes.mp4")


@pytest.fixture(scope="module")
def pictures(scenes):
    """Of that film, as the client reads them."""
    with open_film(str(scenes), None) as film:
        return [picture.pixels for picture in film.pictures()]


@pytest.fixture(scope="module")
def place(idle, scenes):
    """Of that film, uploaded."""
    return idle.upload(scenes.read_bytes(), NAME)


def seen(reply):
    assert reply.status_code == 200, reply.text
    return decode_image(reply.content, max_pixels=10**6)


def test_what_an_upload_is(idle, place):
    assert idle.get(f"{place}/film").json() == {
        "name": NAME,
        "width": 64,
        "height": 48,
        "pixel_aspect": 1.0,
        "rate": 25.0,
        "duration_s": COUNT / RATE,
        "frames": COUNT,
        "media_type": "video/mp4",
        "playable": True,
    }
    assert b"<" not in idle.get(f"{place}/film").content


def test_cuts_are_those_of_the_planner_and_known_at_each_pair(idle, place, scenes):
    again = idle.upload(scenes.read_bytes())
    assert idle.get(f"{again}/pair?at=1").json()["cut"] is None
    found = idle.get(f"{place}/cuts").json()
    assert found["complete"] and found["cuts"] == [CUT / RATE]
    assert idle.get(f"{place}/cuts").json() == found
    expected = {CUT - 1.5: False, CUT - 0.5: True, CUT + 0.5: False}
    assert {
        at: idle.get(f"{place}/pair", params={"at": f"{at / RATE:.6f}"}).json()["cut"] for at in expected
    } == expected


@pytest.mark.parametrize("number", [50, 0, 33, 34, 12, 11, 59])  # back and forth, over key frames
def test_a_thumbnail_is_of_the_picture_that_is_shown_then(idle, place, pictures, number):
    reply = idle.get(f"{place}/frame", params={"at": f"{number / RATE + 0.01:.3f}", "height": 24})
    assert reply.headers["Content-Type"] == "image/jpeg" and "max-age" in reply.headers["Cache-Control"]
    small = seen(reply).astype(int)
    assert small.shape == (24, 32, 3)
    apart = [np.abs(small - shrunk(picture)).mean() for picture in pictures]
    assert int(np.argmin(apart)) == number
    kept = idle.get(f"{place}/frame", params={"at": f"{number / RATE + 0.01:.3f}", "height": 24})
    assert kept.content == reply.content


PREVIEWS = {"film": "json", "cuts": "json", "frame": "jpeg", "pair": "json", "pair/first": "png", "pair/eden": "png"}


@pytest.mark.parametrize("preview", PREVIEWS)
def test_head_is_answered_without_the_work_of_get(idle, preview):
    place = idle.upload(b"a text, of which nothing can be shown", "letter.txt")
    asked = {"at": "1"} if "a" in preview.partition("/")[0] else {}
    reply = idle.request("HEAD", f"{place}/{preview}", params=asked)
    assert (reply.status_code, reply.content) == (200, b"") and "Content-Length" not in reply.headers
    assert reply.headers["Content-Type"].rpartition("/")[2] == PREVIEWS[preview]
    assert idle.get(f"{place}/{preview}", params=asked).status_code == 422
    assert idle.request("HEAD", f"{place}/{preview}", params={"at": "soon"}).status_code in (200, 400)
    assert idle.request("HEAD", f"/v1/uploads/{32 * '0'}/{preview}", params=asked).status_code == 404


def shrunk(picture):
    return picture.reshape(24, 2, 32, 2, 3).mean((1, 3))


@pytest.mark.parametrize(
    ("at", "first"),
    [("2.1", 52), ("0", 0), ("1.38", 34), ("1.42", 35), ("0.459999", 11), ("0.480000", 12), ("2.4", 58), ("999", 58)],
)
def test_the_pair_at_a_time_is_exact(idle, place, pictures, at, first):
    times = idle.get(f"{place}/pair", params={"at": at}).json()
    assert (times["first_s"], times["second_s"]) == pytest.approx((first / RATE, (first + 1) / RATE))
    one, other = pictures[first], pictures[first + 1]
    blended = ((one.astype(int) + other + 1) // 2).astype(np.uint8)
    for which, wanted in (("first", one), ("second", other), ("blended", blended)):
        reply = idle.get(f"{place}/pair/{which}", params={"at": at})
        assert np.array_equal(seen(reply), wanted), which
        assert reply.headers["Server-Timing"].startswith("decode;dur=")
    as_jpeg = idle.get(f"{place}/pair/first", params={"at": at, "format": "jpeg"})
    assert as_jpeg.headers["Content-Type"] == "image/jpeg" and np.abs(seen(as_jpeg).astype(int) - one).mean() < 8


@pytest.mark.parametrize(("ending", "codec"), [("mkv", "libx264"), ("gif", "gif"), ("avi", "mjpeg")])
def test_pairs_of_films_of_other_kinds(tmp_path, ending, codec):
    path = tmp_path / f"film.{ending}"
    with av.open(path, "w") as out:  # without key frames but the first, without a way back, and with nothing but such
        stream = out.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.gop_size = 64, 48, 250
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for number in range(20):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 12 * number, np.uint8))
            out.mux(stream.encode(grey.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode())
    with open_film(str(path), None) as film:
        every = [(picture.time - film.start, picture.pixels) for picture in film.pictures()]
    view = FilmView(path)
    for number in (17, 3, 18, 0, 9, 10):
        time_, wanted = every[number]
        first, second = view.pair(time_ + Fraction(1, 1000))
        assert np.array_equal(first.pixels, wanted) and np.array_equal(second.pixels, every[number + 1][1])
        assert view.seconds(first) == pytest.approx(float(time_), abs=1e-3)
    first, second = view.pair(Fraction(500))
    assert np.array_equal(second.pixels, every[-1][1])
    view.close()


def test_a_film_that_lies_on_its_side_is_shown_upright(idle, tmp_path):
    path = write(tmp_path / "turned.mp4", turn=90)
    with open_film(str(path), None) as film:
        lying = next(picture.pixels for number, picture in enumerate(film.pictures()) if number == 32)
    place = idle.upload(path.read_bytes())
    told = idle.get(f"{place}/film").json()
    assert (told["width"], told["height"]) == (48, 64)
    assert np.array_equal(seen(idle.get(f"{place}/pair/first?at=1.3")), np.rot90(lying))


@pytest.mark.parametrize(
    ("name", "codec", "sound", "media_type", "playable"),
    [
        ("a.mp4", "libx264", "aac", "video/mp4", True),
        ("a.mp4", "mpeg4", None, "video/mp4", False),
        ("a.mov", "libx264", None, "video/quicktime", False),
        ("a.webm", "libvpx-vp9", "libopus", "video/webm", True),
        ("a.mkv", "libx264", None, "video/x-matroska", False),
        ("a.avi", "libx264", None, "video/x-msvideo", False),
        ("a.ts", "libx264", None, "video/mp2t", False),
    ],
)
def test_media_types_and_what_browsers_play(tmp_path, name, codec, sound, media_type, playable):
    kind = kind_of(write(tmp_path / name, codec=codec, sound=sound, pictures=3))
    assert (kind.media_type, kind.playable) == (media_type, playable)


def test_the_file_as_it_was_sent(idle, place, scenes):
    whole = idle.get(f"{place}/content")
    assert whole.content == scenes.read_bytes() and whole.headers["Content-Type"] == "video/mp4"
    part = idle.get(f"{place}/content", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    told = whole.headers["Content-Disposition"]
    assert told.startswith("inline; ") and "<" not in told


def test_what_is_no_film_is_said_by_its_name_and_is_never_a_page(idle):
    place = idle.upload(b"<html><script>alert(1)</script></html>" * 100, "holiday.html")
    for path in ("film", "cuts", "frame?at=0", "pair?at=0", "pair/first?at=0", "pair/eden?at=0"):
        reply = idle.get(f"{place}/{path}")
        assert reply.status_code == 422 and "not a film of an accepted kind" in reply.json()["message"], path
    sent = idle.get(f"{place}/content")
    assert sent.headers["Content-Type"] == "application/octet-stream"
    assert sent.headers["Content-Disposition"].startswith("attachment; ")
    assert sent.headers["X-Content-Type-Options"] == "nosniff"


def test_what_is_wrong_with_a_film_is_said_by_its_visitors_name(idle, tmp_path):
    place = idle.upload(write(tmp_path / "one.mp4", pictures=1).read_bytes(), "holiday.mp4")
    told = idle.get(f"{place}/pair?at=0").json()["message"]
    assert told == "holiday.mp4: a single picture, so there is no frame between"


def test_a_jump_to_the_end_of_a_film_of_key_frames_reads_it_once(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(film_view, "open_film", lambda *given: opened.append(given) or open_film(*given))
    view = FilmView(write(tmp_path / "film.avi", codec="mjpeg", key_frames=1, pixels="yuvj420p"))
    first, second = view.pair(Fraction(COUNT, RATE))
    assert (round(view.seconds(first) * RATE), round(view.seconds(second) * RATE)) == (COUNT - 2, COUNT - 1)
    view.close()
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("frame", 400, "at"),
        ("frame?at=-1", 400, "at"),
        ("frame?at=1e3", 400, "at"),
        ("frame?at=1&at=2", 400, "at"),
        ("frame?at=1&height=8", 400, "height"),
        ("frame?at=1&height=4000", 400, "height"),
        ("pair/first?at=1&format=html", 400, "format"),
        ("pair/third?at=1", 404, "first, second, blended, eden"),
        ("pair/eden?at=1", 503, "127.0.0.1:9"),
    ],
)
def test_what_is_wrong_is_named(idle, place, path, status, named):
    reply = idle.get(f"{place}/{path}")
    assert reply.status_code == status and named in reply.json()["message"]


def test_an_upload_that_is_not_complete_has_nothing_to_see(idle):
    place = idle.post("/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "9"}).headers["Location"]
    for path in ("film", "cuts", "frame?at=0", "pair?at=0", "pair/eden?at=0", "content"):
        assert idle.get(f"{place}/{path}").status_code == 409, path


def test_what_is_kept_is_bounded_and_goes_with_the_upload(tmp_path, scenes):
    with running(tmp_path / "web", replace(LIMITS, previews=2), at_once=0, film_options=AWAY) as visitor:
        place = visitor.upload(scenes.read_bytes())
        for at in range(4):
            assert visitor.get(f"{place}/frame", params={"at": f"0.{at}"}).status_code == 200
        folder = tmp_path / "web" / "previews" / place.rpartition("/")[2]
        assert len([*folder.iterdir()]) == 2
        visitor.delete(place, headers={"Tus-Resumable": "1.0.0"})
        assert not folder.exists()
    with running(tmp_path / "web", replace(LIMITS, reserve_bytes=0, preview_bytes=10), at_once=0) as visitor:
        (tmp_path / "web" / "previews" / "astray").mkdir()
        place = visitor.upload(scenes.read_bytes())
        assert visitor.get(f"{place}/frame?at=0").status_code == 200
        assert not [*(tmp_path / "web" / "previews" / place.rpartition("/")[2]).iterdir()]


@pytest.mark.parametrize(
    ("how", "patience_s", "told"), [("os.abort()", PATIENCE, "crashed the process"), ("time.sleep(600)", 0.5, "0.5 s")]
)
def test_a_film_that_ends_or_stops_its_reader_is_at_fault_and_the_next_one_is_read(
    scenes, tmp_path, how, patience_s, told
):
    (tmp_path / "bad").touch()
    code = f"""
import os, sys, time
from pathlib import Path
if Path(sys.argv[1]).exists():
    Path(sys.argv[1]).unlink()
    {how}
from web.film_reader import main
sys.exit(main())
"""

    async def asking():
        film, command = Ask(str(scenes), "film"), [sys.executable, "-c", code, str(tmp_path / "bad")]
        bad = ReaderProcess(patience_s, command=command)
        with pytest.raises(ApiError, match=told) as failed:
            await bad.ask(film)
        (tmp_path / "bad").unlink(missing_ok=True)
        bad._patience_s = PATIENCE
        answer, _ = await bad.ask(film)
        await bad.close()
        return failed.value.status, answer.film.frames

    assert asyncio.run(asking()) == (422, COUNT)


def test_only_so_many_wait():
    async def ask_all():
        reader = ReaderProcess(0.5, waiting=3, command=[sys.executable, "-c", "import time; time.sleep(600)"])
        asked = [reader.ask(Ask("/nowhere", "film")) for _ in range(5)]
        refused = [error.status for error in await asyncio.gather(*asked, return_exceptions=True)]
        await reader.close()
        return refused

    assert sorted(asyncio.run(ask_all())) == [422, 422, 422, 503, 503]
