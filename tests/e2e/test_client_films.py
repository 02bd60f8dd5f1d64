"""A film in, a smoother film out, through a real TorchServe: each option on small real files."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from eden_client import NotOffered, Refused, TokenRejected
from eden_client.cli.main import main
from tests.e2e.client_films import (
    CLIP,
    beep_start,
    client_of,
    first_white,
    grpc_options,
    long_clip,
    look_at,
    options_for,
    run,
    start,
    told,
    write_film,
)
from tests.e2e.servers import assert_same, running_server


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", CLIP, Fraction(24000, 1001), sound=["aac"])


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """Eight frames, lossless: what comes back can be compared value by value."""
    return write_film(tmp_path_factory.mktemp("films") / "exact.mkv", CLIP[:8], codec="ffv1", pixel_format="bgr0")


@pytest.fixture(scope="module")
def doubled(server, exact, tmp_path_factory):
    target = tmp_path_factory.mktemp("films") / "doubled.mkv"
    assert run(server, exact, target) == 0
    return look_at(target)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "webm"])
def test_every_container_in_and_out(server, film, tmp_path, ending):
    first, second = tmp_path / f"first.{ending}", tmp_path / f"second.{ending}"
    assert run(server, film, first) == 0
    seen = look_at(first)
    assert len(seen.frames) == 47
    assert abs(seen.rate - Fraction(48000, 1001)) < Fraction(1, 100)
    assert sorted(seen.kinds) == ["audio", "video"]
    assert run(server, first, second, "--preset", "8" if ending == "webm" else "ultrafast") == 0
    assert len(look_at(second).frames) == 93
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_times_are_exact(server, film, tmp_path):
    assert run(server, film, tmp_path / "x2.mp4") == 0
    assert look_at(tmp_path / "x2.mp4").times == [Fraction(1001 * i, 48000) for i in range(47)]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_sound_stays_in_sync(server, tmp_path, ending):
    """A white frame and a beep at the same moment, before and after."""
    frames = [frame.copy() for frame in long_clip(48)]
    frames[36][:] = 255
    source = write_film(tmp_path / "film.mp4", frames, Fraction(24), sound=["aac"], beep_at=1.5)
    target = tmp_path / f"smooth.{ending}"
    assert run(server, source, target) == 0
    seen = look_at(target)
    white = first_white(seen.frames)
    assert white == 72
    apart = beep_start(source) - 1.5  # what the codec itself adds
    assert beep_start(target) - float(seen.times[white]) == pytest.approx(apart, abs=0.012)


@pytest.mark.parametrize(
    "options",
    [
        ["--strategy", "batch", "--clip", "3"],
        ["--strategy", "batch", "--clip", "16"],
        ["--window", "1"],
        ["--transport", "png"],
        ["--chain"],
        ["--chain", "--strategy", "batch", "--transport", "png"],
    ],
    ids=" ".join,
)
def test_the_frames_do_not_depend_on_how_they_travel(server, exact, doubled, tmp_path, options):
    assert run(server, exact, tmp_path / "other.mkv", *options) == 0
    other = look_at(tmp_path / "other.mkv")
    assert_same(doubled.frames, other.frames)
    assert all(np.array_equal(a, b) for a, b in zip(other.frames[::2], CLIP[:8], strict=True))


@pytest.mark.parametrize("options", [[], ["--strategy", "batch", "--transport", "png"]], ids=" ".join)
def test_the_same_over_grpc(server, exact, doubled, tmp_path, options):
    assert main([str(exact), str(tmp_path / "grpc.mkv"), *grpc_options(server), *options]) == 0
    assert_same(doubled.frames, look_at(tmp_path / "grpc.mkv").frames)


def test_other_seeds_give_other_frames(server, exact, doubled, tmp_path):
    assert run(server, exact, tmp_path / "seed.mkv", "--seed", "7") == 0
    other = look_at(tmp_path / "seed.mkv").frames
    assert np.array_equal(other[0], doubled.frames[0]) and not np.array_equal(other[1], doubled.frames[1])


@pytest.mark.parametrize("times", [4, 8])
@pytest.mark.parametrize("strategy", ["streaming", "batch"])
def test_recursion_takes_midpoints_of_midpoints(server, exact, doubled, tmp_path, times, strategy):
    target = tmp_path / "more.mkv"
    assert run(server, exact, target, "--times", str(times), "--strategy", strategy, "--clip", "5") == 0
    seen = look_at(target)
    assert len(seen.frames) == 7 * times + 1
    assert_same(seen.frames[:: times // 2], doubled.frames)
    with client_of(server) as client:
        quarter = client.interpolate_pair(CLIP[0], seen.frames[times // 2])
    assert_same([seen.frames[times // 4]], [quarter])


@pytest.mark.parametrize(("rate", "count"), [("60", 20), ("60000/1001", 20), ("30", 10), ("12", 4)])
def test_a_target_rate_has_the_exact_count_and_time_stamps(server, tmp_path, rate, count):
    source = write_film(tmp_path / "third.mp4", CLIP[:8], Fraction(24))
    assert run(server, source, tmp_path / "out.mp4", "--fps", rate, "--depth", "2") == 0
    seen = look_at(tmp_path / "out.mp4")
    assert len(seen.frames) == count and seen.rate == Fraction(rate)
    assert seen.times == [i / Fraction(rate) for i in range(count)]


@pytest.mark.parametrize(("height", "width"), [(33, 49), (48, 33), (17, 64)])
def test_odd_sizes(server, tmp_path, height, width):
    frames = [frame[:height, :width] for frame in CLIP[:4]]
    source = write_film(tmp_path / "odd.mkv", frames, codec="ffv1", pixel_format="bgr0")
    assert run(server, source, tmp_path / "lossless.mkv") == 0
    assert look_at(tmp_path / "lossless.mkv").frames[0].shape == (height, width, 3)
    assert run(server, source, tmp_path / "plays.mp4", "--codec", "h264") == 0
    assert look_at(tmp_path / "plays.mp4").frames[0].shape == (height + height % 2, width + width % 2, 3)


def test_json_tells_everything(server, film, tmp_path, capsys):
    assert run(server, film, tmp_path / "out.mp4", "--json") == 0
    summary = told(capsys)
    assert (summary["frames_in"], summary["frames_out"], summary["traffic"]["pairs"]) == (24, 47, 23)
    planes = 64 * 112 * 3 // 2
    assert 1 < summary["traffic"]["bytes_sent"] / (23 * 2 * planes) < 1.1
    assert 1 < summary["traffic"]["bytes_received"] / (23 * planes) < 1.1
    stages = {"decode", "send", "server", "encode"}
    assert set(summary["seconds"]) == {"total", "to_first_frame", "to_first_new_frame"} | stages
    first, new = (summary["seconds"][f"to_first_{name}"] for name in ("frame", "new_frame"))
    assert 0 < first < new < summary["seconds"]["total"]
    assert all(value > 0 for value in summary["seconds"].values())


def test_plain_lines_where_there_is_no_terminal(server, film, tmp_path):
    process = start(server, film, tmp_path / "out.mp4")
    _, lines = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "47 frames from 24" in lines and "\x1b" not in lines


def test_a_bar_where_there_is_one(server, film, tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "eden_client", str(film), str(tmp_path / "out.mp4"), *options_for(server)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # how a terminal ends
            while block := os.read(ours, 4096):
                seen += block
    os.close(ours)
    assert process.returncode == 0
    assert b"frames/s" in seen and b"47/47" in seen and b"\x1b" in seen


def test_an_output_is_not_overwritten_unasked(server, exact, tmp_path, capsys):
    target = tmp_path / "out.mkv"
    target.write_text("mine")
    assert run(server, exact, target) == 1
    assert "--overwrite" in capsys.readouterr().err and target.read_text() == "mine"
    assert run(server, exact, target, "--overwrite") == 0


def test_no_server_is_one_clear_line(exact, tmp_path, capsys):
    assert main([str(exact), str(tmp_path / "out.mkv"), "--server", "http://127.0.0.1:9", "--token", "x"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no connection to http://127.0.0.1:9" in error
    assert not list(tmp_path.iterdir())


def test_a_token_by_itself_will_do_and_a_wrong_one_is_one_clear_line(server, exact, tmp_path, capsys, monkeypatch):
    command = [str(exact), str(tmp_path / "out.mkv"), "--server", server.url]
    assert main([*command, "--token", "wrong"]) == 1
    assert "rejects this token" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setenv("EDEN_TOKEN", server.token())
    assert main(command) == 0


def test_a_token_voided_in_mid_film_is_noticed(server):
    """Another client renews the token: the one in use is worth nothing from then on."""
    with client_of(server, window=1) as client:
        stream = client.stream(CLIP[:8])
        got = [next(stream)]
        for _ in range(3):
            before = server.token()
            server.tokens._renew("inference")
            assert server.token() != before
            got += [next(stream), next(stream)]
        assert len(got) == 7 and client.traffic.retries == 0


# ---------------------------------------------------------------- two servers


def test_one_server_encodes_another_decodes(server, model_store, exact, doubled, tmp_path):
    """Two TorchServes of one machine that share a hand-off: the same folder for its state, and so the same key."""
    environment = {"EDEN_SERVER_FOLDER": str(server.folder)}
    with running_server(model_store, tmp_path / "cloud", environment) as cloud:
        second = ["--decoder-server", server.url, "--decoder-key-file", str(server.tokens.path)]
        second += ["--decoder-management", server.management_url]
        target = tmp_path / "two.mkv"
        assert main([str(exact), str(target), *options_for(cloud), *second]) == 0
        assert_same(doubled.frames, look_at(target).frames)


# ---------------------------------------------------------------- the library


@pytest.mark.parametrize("route", ["workflow", "chain"])
def test_the_library(server, doubled, route):
    pictures = [Image.fromarray(frame) for frame in CLIP[:8]]
    with client_of(server, route=route) as client:
        assert_same([client.interpolate_pair(pictures[0], CLIP[1])], [doubled.frames[1]])
        assert_same(list(client.interpolate_clip(CLIP[:8])), doubled.frames[1::2])
        assert_same(list(client.stream(iter(pictures))), doubled.frames[1::2])


def test_errors_carry_the_servers_words(server):
    tiny = [np.zeros((8, 8, 3), np.uint8)] * 2
    for route in ("workflow", "chain"):
        with client_of(server, route=route) as client, pytest.raises(Refused, match="at least 16") as raised:
            client.interpolate_pair(*tiny)
        assert (raised.value.code, raised.value.kind) == (400, "BadRequest")
    with client_of(server, key_file=None, token="wrong") as client, pytest.raises(TokenRejected):
        client.interpolate_pair(*CLIP[:2])
    grpc = {"server": f"127.0.0.1:{server.grpc_port}", "route": "grpc"}
    with client_of(server, **grpc) as client, pytest.raises(Refused, match="at least 16"):
        client.interpolate_pair(*tiny)
    with client_of(server, **grpc, key_file=None, token="wrong") as client, pytest.raises(TokenRejected):
        client.interpolate_pair(*CLIP[:2])


def test_where_only_the_workflow_is_offered_it_serves(server, exact, doubled, tmp_path, capsys):
    assert run(server, exact, tmp_path / "workflow.mkv", "--route", "workflow") == 0
    assert_same(doubled.frames, look_at(tmp_path / "workflow.mkv").frames)
    assert run(server, exact, tmp_path / "fused.mkv", "--route", "fused") == 1
    assert "eden_fused" in capsys.readouterr().err
    with client_of(server, route="fused") as client, pytest.raises(NotOffered):
        client.interpolate_pair(*CLIP[:2])
