"""A video's finished segments, while it is made and afterwards."""

from __future__ import annotations

import io
import itertools
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from eden_client.film.order import Order
from eden_client.film.resume_journal import Entry, finished_segments, open_journal
from eden_client.film.run import interpolate_film
from tests.unit.client.film.drawing import Drawing, Silent
from tests.unit.web.conftest import COUNT
from tests.unit.web.services import held_up, running
from tests.unit.web.test_web_previews import write
from web.fragments import NotPlayed, fragment, header, spans
from web.streams import _finished
from web.videos import StreamPart

pytestmark = pytest.mark.slow

RATE = 50
"""Frames per second of the film, doubled."""


@pytest.fixture(scope="module")
def whole(film, tmp_path_factory):
    """Its packets, as the command makes it: when each is shown, and its bytes."""
    made = tmp_path_factory.mktemp("whole") / "out.mp4"
    interpolate_film(Order(str(film), str(made)), Drawing(), Silent())
    return packets(made)


def packets(source):
    with av.open(source) as film:
        stream = film.streams.video[0]
        read = [packet for packet in film.demux(stream) if packet.pts is not None]
        first = min(packet.pts for packet in read)
        return [(round((packet.pts - first) * stream.time_base * RATE), bytes(packet)) for packet in read]


def begins_at(data):
    """When the first picture of a fragment is shown: its time (tfdt) and the first sample's offset (trun)."""
    (time,) = struct.unpack_from(">Q", data, data.index(b"tfdt") + 8)
    run = data.index(b"trun") + 4
    flags, _ = struct.unpack_from(">II", data, run)
    once, each = (bin(flags & some).count("1") for some in (0x5, 0xF00))
    late = struct.unpack_from(">i", data, run + 8 + 4 * (once + each - 1))[0] if flags & 0x800 else 0
    return Fraction(time + late, 90_000)


def seen(visitor, stream):
    """The packets of all segments that a stream names; each begins where it says."""
    parts = [visitor.get(stream["init"]).content]
    for segment in stream["segments"]:
        reply = visitor.get(segment["url"])
        assert reply.headers["Content-Type"] == "video/mp4"
        assert begins_at(reply.content) == pytest.approx(segment["start_s"], abs=1e-4)
        parts.append(reply.content)
    for before, after in itertools.pairwise(stream["segments"]):
        assert before["start_s"] + before["duration_s"] == pytest.approx(after["start_s"])
    return packets(io.BytesIO(b"".join(parts)))


def test_segments_are_seen_while_the_film_is_made_and_are_the_same_afterwards(tmp_path, film, whole, held):
    held.write_text("0")
    with running(tmp_path / "web") as visitor:
        id_ = visitor.send_film(film)["id"]
        begin = visitor.get(f"/v1/videos/{id_}/stream").json()
        assert (begin["mime"], begin["playable"], begin["segments"], begin["complete"]) == (None, True, [], False)
        assert visitor.get(f"/v1/videos/{id_}/stream/0").status_code == 404
        held.write_text("")
        held_up(visitor, id_)
        visitor.until(id_, lambda video: video["segments"] >= 2)
        stream = visitor.get(f"/v1/videos/{id_}/stream").json()
        assert stream["mime"].startswith('video/mp4; codecs="avc1.') and not stream["complete"]
        early = seen(visitor, stream)
        assert len(early) >= 36 and early == whole[: len(early)]
        segments = [visitor.get(segment["url"]).content for segment in stream["segments"]]
        held.unlink()
        assert visitor.ended(id_)["status"] == "completed"
        after = visitor.get(f"/v1/videos/{id_}/stream").json()
        assert after["complete"] and after["mime"] == stream["mime"]
        assert after["segments"][: len(segments)] == stream["segments"]
        assert seen(visitor, after) == whole
        assert visitor.video(id_)["segments"] == len(after["segments"])
        again = [visitor.get(segment["url"]).content for segment in stream["segments"]]
        assert [begins_at(data) for data in again] == [begins_at(data) for data in segments]
        assert visitor.get(f"/v1/videos/{id_}/stream/{len(after['segments'])}").status_code == 404


def test_segments_behind_a_missing_one_are_not_seen_yet(tmp_path):
    result = tmp_path / "film.mp4"
    assert finished_segments(result) == []
    journal = open_journal(result, {}, resume=False, overwrite=False)
    for number, seen in ((0, [0]), (2, [0]), (1, [0, 1, 2])):
        journal.record(Entry(number, f"{number}.nut", "0", frames=1))
        assert [entry.number for entry in finished_segments(result)] == seen
    journal.close()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_what_is_not_known_of_a_film_when_it_is_joined_is_found_in_it(tmp_path, count):
    path = write(tmp_path / "film.mp4")
    with av.open(path) as film:
        stream = film.streams.video[0]
        keys = [float(packet.pts * stream.time_base) for packet in film.demux(stream) if packet.is_keyframe]
    known = [StreamPart(start, end - start, "segment") for start, end in itertools.pairwise([*keys, COUNT / 25])]
    assert len(known) > 3
    parts = _finished(path, known[:count])
    assert parts[:count] == known[:count] and len(parts) > count
    for before, after in itertools.pairwise(parts):
        assert before.start + before.duration == pytest.approx(after.start)
    assert parts[-1].start + parts[-1].duration == pytest.approx(COUNT / 25)
    assert _finished(path, known) == known


@pytest.mark.parametrize(
    ("options", "told"),
    [({"codec": "hevc"}, "browsers cannot play hevc"), ({"format": "gif"}, "a GIF cannot be streamed")],
)
def test_what_browsers_do_not_play_is_said(visitor, film, options, told):
    id_ = visitor.send_film(film, duration=0.2, **options)["id"]
    visitor.ended(id_)
    stream = visitor.get(f"/v1/videos/{id_}/stream").json()
    assert (stream["playable"], stream["mime"], stream["segments"]) == (False, None, [])
    assert told in stream["reason"]
    assert visitor.get(stream["init"]).status_code in (404, 409)


@pytest.mark.parametrize(
    ("name", "codec", "mime"),
    [
        ("a.mp4", "libx264", "avc1.64000a"),
        ("a.mkv", "libx264", "avc1.64000a"),
        ("a.webm", "libvpx-vp9", "vp09.00.10.08"),
        ("a.mp4", "libsvtav1", "av01.0.00M.08"),
    ],
)
def test_fragments_of_films_of_every_kind_that_browsers_play(tmp_path, name, codec, mime):
    path = write(tmp_path / name, codec=codec)
    begin, told = header(path)
    assert told == f'video/mp4; codecs="{mime}"'
    parts = spans(path, [])
    assert sum(part.duration for part in parts) == pytest.approx(Fraction(COUNT, 25)) and parts[0].start == 0
    fragments = [fragment(path, number, part.start, part) for number, part in enumerate(parts)]
    assert packets(io.BytesIO(b"".join([begin, *fragments]))) == packets(path)


def test_pictures_of_more_than_eight_bits_are_not_played(tmp_path):
    with pytest.raises(NotPlayed, match="yuv420p10le"):
        header(write(tmp_path / "deep.mp4", pixels="yuv420p10le"))


def test_a_film_written_anew_has_the_pictures_of_its_fragments(tmp_path):
    path = write(tmp_path / "a.mp4")
    begin, _ = header(path)
    data = b"".join([begin, *(fragment(path, number, part.start, part) for number, part in enumerate(spans(path, [])))])
    with av.open(io.BytesIO(data)) as one, av.open(path) as other:
        for left, right in zip(one.decode(video=0), other.decode(video=0), strict=True):
            assert np.array_equal(left.to_ndarray(), right.to_ndarray())
