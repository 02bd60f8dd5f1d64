"""Frames in shared memory regions: the same frames as by bodies, and no file used that is not the caller's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import media
from media.region_format import CONTENT_TYPE, HEADER
from serving import regions
from serving.errors import BadRequest, RegionUnavailable
from serving.regions import RegionFolder
from serving.request import Caller, Request
from serving.settings import Limits, Settings, SettingsError
from tests.region_files import DESCRIBED, FILES, FRAMES, RegionFile
from tests.unit.serving.conftest import Outbox

HEADERS = {"content-type": f"{CONTENT_TYPE}; charset=utf-8", "x-eden-seed": "5"}


@pytest.fixture
def region(tmp_path: Path) -> RegionFile:
    return RegionFile.write(tmp_path, FRAMES)


@pytest.fixture
def folder(tmp_path: Path) -> RegionFolder:
    return RegionFolder(tmp_path)


@pytest.fixture
def nodes(make_nodes, folder):
    return make_nodes(regions=folder)


def request(body: bytes, caller: Caller = Caller.HTTP, **headers: str) -> Request:
    return Request(0, {"body": body}, HEADERS | headers, caller)


def by_body(nodes) -> np.ndarray:
    sent = Request(0, {"body": media.encode_npy(FRAMES)}, {"x-eden-seed": "5"})
    (answer,) = nodes.fused.serve([sent], Outbox())
    return media.decode_npy(answer.body, max_pixels=1 << 20, max_frames=9)


def told(answer) -> dict:
    assert (answer.status, answer.content_type) == (200, CONTENT_TYPE), answer.body
    return json.loads(answer.body)


def test_fused_writes_the_frames_that_a_body_would_hold(nodes, region):
    (answer,) = nodes.fused.serve([request(region.body())], Outbox())
    assert told(answer) == {
        "layout": "rgb24", "dtype": "uint8", "shape": [3, 32, 48, 3], "offset": region.answer, "first": 0
    }  # fmt: skip
    assert np.array_equal(region.between, by_body(nodes))


def test_the_answers_place_travels_in_the_ticket(nodes, region):
    (answer,) = nodes.through(request(region.body(), Caller.WORKFLOW))
    assert told(answer)["offset"] == region.answer
    assert np.array_equal(region.between, by_body(nodes))


def test_nothing_else_of_the_file_is_touched(nodes, region):
    before = region.path.read_bytes()
    nodes.fused.serve([request(region.body())], Outbox())
    after, end = region.path.read_bytes(), region.answer + region.between.nbytes
    assert after[: region.answer] == before[: region.answer] and after[end:] == before[end:] == b"\xee" * 100


def parts_of(body: bytes) -> list[dict]:
    return [json.loads(part.partition(b"\r\n\r\n")[2]) for part in body.split(b"--eden-frame") if b"rgb24" in part]


def assert_alike(streamed: np.ndarray, together: np.ndarray) -> None:
    """A stream is drawn pair by pair: what is drawn together may be rounded by one grey level more or less."""
    assert streamed.shape == together.shape
    assert np.abs(streamed.astype(int) - together).max() <= 1


def test_a_stream_says_of_each_frame_that_it_is_there(nodes, region):
    streams = []
    for node in ("fused", "chain"):
        outbox = Outbox()
        if node == "fused":
            nodes.fused.serve([request(region.body(), **{"x-eden-stream": "1"})], outbox)
        else:
            (ticket,) = nodes.encoder.serve([request(region.body())])
            asked = {"x-eden-stream": "1", "accept": "*/*"}
            nodes.decoder.serve([Request(0, {"body": ticket.body}, asked)], outbox)
        assert_alike(region.between, by_body(nodes))
        streams.append(parts_of(b"".join(outbox.parts[0])))
    size = FRAMES[0].nbytes
    assert [part["offset"] for part in streams[0]] == [region.answer + i * size for i in range(3)]
    assert [(part["first"], part["shape"]) for part in streams[0]] == [(i, [1, 32, 48, 3]) for i in range(3)]
    assert streams[0] == streams[1]


def test_a_streamed_frame_is_written_before_it_is_told_of(nodes, region):
    class Looking(Outbox):
        def send(self, index, body, content_type):
            (said,) = parts_of(body)
            seen.append(region.between[said["first"]].copy())

    seen: list[np.ndarray] = []
    nodes.fused.serve([request(region.body(), **{"x-eden-stream": "1"})], Looking())
    assert_alike(np.stack(seen), by_body(nodes))


def test_the_answer_may_lie_in_a_second_region_or_come_as_a_body(nodes, region, tmp_path):
    other = RegionFile.write(tmp_path, FRAMES)
    (answer,) = nodes.fused.serve([request(region.body(answer=other.described()["answer"]))], Outbox())
    told(answer)
    expected = by_body(nodes)
    assert np.array_equal(other.between, expected)
    (answer,) = nodes.fused.serve([request(region.body(answer=...))], Outbox())
    assert np.array_equal(media.decode_npy(answer.body, max_pixels=1 << 20, max_frames=9), expected)
    assert set(region.between.ravel()) == {0xEE}
    (answer,) = nodes.fused.serve([request(region.body(), accept="application/zip")], Outbox())
    assert answer.content_type == "application/zip"


def test_a_form_field_describes_a_region_too(nodes, region):
    (answer,) = nodes.fused.serve([Request(0, {"region": region.body(), "seed": b"5"}, {}, Caller.GRPC)], Outbox())
    told(answer)
    assert np.array_equal(region.between, by_body(nodes))


def refusal(answer) -> tuple[int, str, str]:
    said = json.loads(answer.body)
    assert answer.status == said["code"] and said["retry"] == "never"
    return said["code"], said["type"], said["message"]


def test_a_clip_that_is_too_large_is_told_how_many_frames_are_not(make_nodes, folder, region):
    nodes = make_nodes(Limits(max_frames=3), regions=folder)
    (answer,) = nodes.fused.serve([request(region.body())], Outbox())
    assert refusal(answer)[:2] == (413, "TooLarge") and json.loads(answer.body)["largest_clip"] == 3


def test_regions_can_be_switched_off(make_nodes, folder, region):
    (answer,) = make_nodes().fused.serve([request(region.body())], Outbox())
    assert refusal(answer)[:2] == (409, "RegionUnavailable")


def test_a_decoder_elsewhere_says_that_it_cannot_write(make_nodes, folder, region, tmp_path):
    empty = tmp_path / "another machine's"
    empty.mkdir()
    nodes = make_nodes(regions=folder, decoder_regions=RegionFolder(empty))
    (answer,) = nodes.through(request(region.body(), Caller.WORKFLOW))
    assert refusal(answer)[:2] == (409, "RegionUnavailable")


@pytest.mark.parametrize("fields", [{"body": media.encode_npy(FRAMES)}, {}])
def test_the_format_region_needs_a_region(nodes, region, fields):
    fields = fields or {"region": region.body(answer=...)}
    refused = Request(0, fields, {"x-eden-format": "region"})
    well = Request(1, {"body": media.encode_npy(FRAMES)}, {})
    for node in (nodes.encoder, nodes.fused):
        answers = node.serve([refused, well], *([Outbox()] if node is nodes.fused else []))
        assert refusal(answers[0])[1] == "BadRequest" and "no region with room" in refusal(answers[0])[2]
        assert answers[1].status == 200


@pytest.mark.parametrize("case", DESCRIBED)
def test_what_a_description_may_not_say(nodes, region, case):
    said, words = DESCRIBED[case]
    before = region.path.read_bytes()
    body = said if isinstance(said, bytes) else region.body(**said)
    (answer,) = nodes.fused.serve([request(body)], Outbox())
    code, kind, message = refusal(answer)
    assert (code, kind) == (400, "BadRequest") and words in message
    assert region.path.read_bytes() == before


@pytest.mark.parametrize("make", FILES)
def test_what_a_region_may_not_be(nodes, region, make):
    make(region.path, region.path.with_name("beside"))
    (answer,) = nodes.fused.serve([request(region.body())], Outbox())
    code, kind, message = refusal(answer)
    assert (code, kind) == (400, "BadRequest") and FILES[make] in message


def test_what_changes_after_it_was_looked_at_is_looked_at_again(folder, region):
    source = folder.look_at(region.body())
    os.truncate(region.path, region.path.stat().st_size - 101)
    assert np.array_equal(source.read(), FRAMES)
    with pytest.raises(BadRequest, match="too few"):
        folder.write(source.description.answer, FRAMES[1:])
    assert region.path.stat().st_size == region.answer + FRAMES[1:].nbytes - 1
    os.link(region.path, region.path.with_name("another name"))
    with pytest.raises(BadRequest, match="2 names"):
        source.read()


def test_a_region_that_is_gone_or_anothers(folder, region, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(RegionUnavailable, match="another user"):
        folder.look_at(region.body())
    monkeypatch.undo()
    region.path.unlink()
    with pytest.raises(RegionUnavailable, match="No such file"):
        folder.look_at(region.body())


def test_a_file_cut_short_in_the_middle_of_a_read_is_no_crash(folder, region, monkeypatch):
    real = os.preadv

    def cut(file, buffers, at):
        os.truncate(region.path, HEADER + 1000)
        return real(file, buffers, at)

    source = folder.look_at(region.body())
    monkeypatch.setattr(os, "preadv", cut)
    with pytest.raises(BadRequest, match="cut short while it was read"):
        source.read()


def test_a_file_cut_short_in_the_middle_of_a_write_is_not_made_longer(folder, region, monkeypatch):
    real = os.pwrite

    def cut(file, data, at):
        count = real(file, data, at)
        os.truncate(region.path, HEADER)
        return count

    monkeypatch.setattr(regions, "STEP", 1000)
    monkeypatch.setattr(os, "pwrite", cut)
    place = folder.look_at(region.body()).description.answer
    with pytest.raises(BadRequest, match="cut short while it was written"):
        folder.write(place, FRAMES[1:])
    assert region.path.stat().st_size == HEADER


def test_what_was_read_does_not_change_with_the_file(folder, region):
    frames = folder.look_at(region.body()).read()
    region.path.write_bytes(b"\0" * region.path.stat().st_size)
    assert np.array_equal(frames, FRAMES)


def test_settings(tmp_path):
    def read(**handler):
        return Settings.read({"handler": handler}, tmp_path).region_folder

    assert read() == RegionFolder(Path("/dev/shm"))
    assert read(handoff={"shared_folder": str(tmp_path)}) == RegionFolder(tmp_path)
    assert read(regions=str(tmp_path)) == RegionFolder(tmp_path)
    assert read(regions=False) is None
    for wrong in ("shm", "", 7):
        with pytest.raises(SettingsError, match="regions"):
            read(regions=wrong)
