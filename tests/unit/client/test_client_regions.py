"""Frames in shared memory between a client and a server of one host, and bodies wherever that does not work."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eden_client import EdenClient, Refused, RegionUnavailable, ServerFailed
from eden_client.api import client as client_module
from eden_client.api.regions import Region, RegionPool, remove_abandoned
from eden_client.api.routes import FUSED_PATH, WORKFLOW_PATH
from media.region_format import CONTENT_TYPE
from server.settings import PROJECT
from serving.answer import as_part, stream_end
from serving.regions import RegionFolder
from tests.unit.client.told import FRAMES, between, envelope, mean

MEANS = np.stack([mean(*FRAMES[i : i + 2]) for i in range(3)])


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client_module, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def host(told, tmp_path):
    """A server that draws means from regions, by the server's own reader; clips by the fused route as streams."""

    def draw(body: bytes):
        source = RegionFolder(tmp_path).look_at(body)
        frames, place = source.read().astype(int), source.description.answer
        means = ((frames[:-1] + frames[1:]) // 2).astype(np.uint8)
        if told.paths[-1] == WORKFLOW_PATH or len(means) == 1:
            return 200, RegionFolder(tmp_path).write(place, means)
        said = [RegionFolder(tmp_path).write(place, means[i : i + 1], i) for i in range(len(means))]
        return 200, b"".join(as_part(part, CONTENT_TYPE) for part in said) + stream_end()

    told.takes_regions, told.draw = True, draw
    return told


def client_of(told, tmp_path: Path, **options) -> EdenClient:
    return EdenClient(told.url, **{"route": "workflow", "region_folder": tmp_path, "patience": 60} | options)


def names(told) -> list[str]:
    """Of the regions that the server was told of."""
    return [json.loads(body)["frames"]["file"] for body in told.bodies]


@pytest.mark.parametrize("route", ["workflow", "fused"])
@pytest.mark.parametrize("transport", ["auto", "region"])
def test_frames_go_and_come_by_a_region_that_is_used_again(host, tmp_path, route, transport):
    with client_of(host, tmp_path, route=route, transport=transport) as client:
        first = client.interpolate_clip(FRAMES)
        kept = first.copy()
        second = client.interpolate_clip(FRAMES[::-1])
        pair = client.interpolate_pair(*FRAMES[:2])
        assert np.array_equal(first, kept) and np.array_equal(first, MEANS)
        assert np.array_equal(second, MEANS[::-1]) and np.array_equal(pair, MEANS[0])
        assert client.traffic.bytes_sent > 10 * FRAMES[0].nbytes
        assert len(list(tmp_path.iterdir())) == 1
    assert len(set(names(host))) == 1 and len(host.bodies) == 3
    assert max(map(len, host.bodies)) < 1000
    assert not list(tmp_path.iterdir())


def test_frames_that_were_handed_over_are_the_callers(host, tmp_path):
    with client_of(host, tmp_path, route="fused") as client:
        kept = list(client.between(FRAMES))
        for frame in kept:
            frame[:] = 0  # writeable
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
        assert not any(map(np.any, kept))


def test_after_a_call_that_broke_off_its_region_is_given_up(host, tmp_path):
    """The server may still be about to write into it."""
    host.answers = [None]
    with client_of(host, tmp_path) as client:
        client._seen = True
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
        lost, used = names(host)
        assert lost != used and [path.name for path in tmp_path.iterdir()] == [used]


def test_a_stream_that_nobody_reads_to_its_end_gives_its_region_up(host, tmp_path):
    with client_of(host, tmp_path, route="fused") as client:
        frames = client.between(FRAMES)
        next(frames)
        frames.close()
        assert not list(tmp_path.iterdir())


def test_a_stream_that_ends_early_goes_on_where_it_ended(host, tmp_path):
    draw = host.draw
    host.answers = [lambda body: (200, draw(body)[1].split(b"--eden-frame")[1].join([b"--eden-frame", stream_end()]))]
    with client_of(host, tmp_path, route="fused") as client:
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
        assert client.traffic.retries == 1
    assert [json.loads(body)["shape"][0] for body in host.bodies] == [4, 3]


def test_a_server_that_cannot_open_regions_gets_bodies_from_then_on(told, tmp_path):
    with client_of(told, tmp_path) as client:
        for _ in range(3):
            assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
        assert client.traffic.retries == 0
    assert told.regions_asked == 1 and len(told.bodies) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["MediaError", "BadRequest"])
def test_a_server_that_is_older_than_regions_gets_bodies(told, tmp_path, kind):
    told.takes_regions = True
    told.answers = [(400, envelope(400, kind, "not a .npy array", retry="never"))]
    with client_of(told, tmp_path) as client:
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
    assert [body[:1] for body in told.bodies] == [b"{", b"\x93", b"\x93"]


def test_once_regions_have_worked_a_refusal_is_one(host, tmp_path):
    with client_of(host, tmp_path) as client:
        client.interpolate_clip(FRAMES)
        host.answers = [(400, envelope(400, "BadRequest", "no", retry="never"))]
        with pytest.raises(Refused, match="no"):
            client.interpolate_clip(FRAMES)
    assert len(host.bodies) == 2


@pytest.mark.parametrize("transport", ["npy", "png"])
def test_other_transports_make_no_region(told, tmp_path, transport):
    if transport == "png":
        told.draw = lambda body: (400, envelope(400, "BadRequest", "drawn by npy only", retry="never"))
    with client_of(told, tmp_path, transport=transport) as client:
        if transport == "npy":
            client.interpolate_clip(FRAMES)
        else:
            with pytest.raises(Refused):
                client.interpolate_clip(FRAMES)
    assert told.regions_asked == 0


def test_who_insists_on_regions_is_told_that_there_are_none(told, tmp_path):
    with client_of(told, tmp_path, transport="region") as client, pytest.raises(RegionUnavailable):
        client.interpolate_clip(FRAMES)
    with (
        client_of(told, tmp_path / "none", transport="region") as client,
        pytest.raises(RegionUnavailable, match="none"),
    ):
        client.interpolate_clip(FRAMES)
    assert told.bodies == []
    with pytest.raises(ValueError, match="grpc"):
        client_of(told, tmp_path, transport="region", route="grpc")


@pytest.mark.parametrize("options", [{"server": "http://192.0.2.1:8080"}, {"decoder_server": "http://192.0.2.1:8080"}])
def test_for_a_server_elsewhere_none_is_tried(tmp_path, options):
    with EdenClient(region_folder=tmp_path, **options) as client:
        assert client._regions is None


def test_without_the_folder_frames_go_in_bodies(told, tmp_path):
    with client_of(told, tmp_path / "none") as client:
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
    assert told.regions_asked == 0


def test_where_there_is_no_room_just_now_that_call_goes_by_a_body(host, tmp_path, monkeypatch):
    regions_only = host.draw

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    host.draw = lambda body: between(body) if body.startswith(b"\x93") else regions_only(body)
    with client_of(host, tmp_path) as client:
        with monkeypatch.context() as patched:
            patched.setattr(os, "posix_fallocate", full)
            assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
            assert not list(tmp_path.iterdir())
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
    assert [body[:1] for body in host.bodies] == [b"\x93", b"{"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b'{"shape": [3, 16, 24, 3]}',
        b'{"layout": "rgb24", "dtype": "uint8", "shape": [3, 16, 24, 3], "offset": 0}',
    ],
)
def test_an_answer_that_does_not_say_what_was_written_is_none(host, tmp_path, said):
    host.draw = lambda body: (200, said)
    with client_of(host, tmp_path, patience=0.01) as client, pytest.raises(ServerFailed, match="does not say"):
        client.interpolate_clip(FRAMES)


def test_no_region_takes_more_than_half_of_what_is_left(tmp_path):
    held = os.statvfs(tmp_path)
    with pytest.raises(RegionUnavailable, match="no room") as told:
        Region(tmp_path, held.f_bavail * held.f_frsize * 3 // 4)
    assert told.value.code is None and not list(tmp_path.iterdir())


def test_calls_side_by_side_have_regions_of_their_own(tmp_path):
    pool = RegionPool(tmp_path)
    with pool.lease(5000) as one, pool.lease(5000) as other:
        assert one.name != other.name
    with pool.lease(5000) as again:
        assert again in (one, other)
    with pool.lease(3 << 20) as larger:  # takes the place of one that is too small
        assert larger not in (one, other) and larger.capacity == 3 << 20
    with pool.lease(5000) as smallest, pool.lease(5000):
        assert smallest.capacity == 1 << 20
        assert len(list(tmp_path.iterdir())) == 2
        pool.close()
    assert not list(tmp_path.iterdir())


def test_a_region_is_its_makers_alone(tmp_path):
    region = Region(tmp_path, 1 << 20)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == 1 << 20
    assert region.key.hex() not in path.name and region.key in path.read_bytes()[:64]


KEEPER = """
import sys, time
from pathlib import Path
from eden_client.api.regions import RegionPool
with RegionPool(Path(sys.argv[1])).lease(5000) as region:
    print(region.name, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_client_left_is_removed_by_the_next_and_what_a_living_one_holds_is_not(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as keeper:
        assert keeper.stdout
        name = keeper.stdout.readline().decode().strip()
        others = tmp_path / "eden-handoff-0.ledger", tmp_path / f"eden-pixels-{os.getuid() + 1}-{32 * '0'}.region"
        for other in others:
            other.touch()
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        remove_abandoned(tmp_path)
        assert (tmp_path / name).exists()
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        assert (tmp_path / name).exists()
        RegionPool(tmp_path)
    assert set(tmp_path.iterdir()) == set(others)


@pytest.mark.parametrize("ending", ["new", "region"])
def test_one_that_is_about_to_be_locked_is_not_taken_for_left_behind(tmp_path, ending):
    new = tmp_path / f"eden-pixels-{os.getuid()}-{32 * '0'}.{ending}"
    new.touch()
    remove_abandoned(tmp_path)
    assert new.exists()
    os.utime(new, (0, 0))
    remove_abandoned(tmp_path)
    assert not new.exists()


def test_a_program_that_forgets_to_close_leaves_nothing(tmp_path):
    forgetful = KEEPER.replace("    sys.stdin.read()", "    pass")
    subprocess.run([sys.executable, "-c", forgetful, str(tmp_path)], cwd=PROJECT, check=True, stdin=subprocess.DEVNULL)
    assert not list(tmp_path.iterdir())


def test_the_fused_path_is_what_auto_finds(host, tmp_path):
    host.offers = {FUSED_PATH}
    with client_of(host, tmp_path, route="auto") as client:
        assert np.array_equal(client.interpolate_clip(FRAMES), MEANS)
    assert host.paths == [FUSED_PATH]
