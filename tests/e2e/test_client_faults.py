"""Interrupted, killed, without its server for a while: the film comes out complete, and is the same."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pytest

from tests.e2e.client_films import long_clip, look_at, run, start, write_film
from tests.e2e.held_client import Hold
from tests.e2e.servers import assert_same, wait_for

FRAMES = 150
"""Enough for several segments after the first three, which are of 12, 24 and 48 frames."""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Lossless, so that what comes out can be compared value by value."""
    frames = [frame[:32, :48].copy() for frame in long_clip(FRAMES)]
    folder = tmp_path_factory.mktemp("faults")
    return write_film(folder / "film.mkv", frames, codec="ffv1", pixel_format="bgr0", sound=["aac"])


@pytest.fixture(scope="module")
def undisturbed(own_server, film, tmp_path_factory):
    target = tmp_path_factory.mktemp("faults") / "undisturbed.mkv"
    assert run(own_server, film, target) == 0
    return target


@pytest.fixture
def begin(own_server, film, tmp_path_factory):
    """Starts the command, and returns once so many segments are finished: there it is held until it is let go."""
    begun = []

    def _begin(target, segments, *options, **popen):
        hold = Hold(tmp_path_factory.mktemp("hold") / "hold", target, segments)
        process = start(own_server, film, target, *options, hold=hold, **popen)
        begun.append(process)
        wait_for(lambda: process.poll() is not None or hold.reached())
        assert process.poll() is None, process.stderr.read()
        return process, hold

    yield _begin
    for process in begun:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


def assert_equal_films(first, second):
    one, other = look_at(first), look_at(second)
    assert one.times == other.times and one.kinds == other.kinds
    assert_same(one.frames, other.frames)


def test_a_killed_run_is_resumed_and_nobody_can_tell(begin, own_server, film, undisturbed, tmp_path, capsys):
    target = tmp_path / "smooth.mkv"
    process, _ = begin(target, 3)
    process.kill()
    process.communicate()
    assert not target.exists()
    assert run(own_server, film, target) == 1  # not unasked
    assert run(own_server, film, target, "--resume", "--times", "4") == 1  # not mixed with other settings
    assert "another --times" in capsys.readouterr().err
    again = start(own_server, film, target, "--resume", "--json", stdout=-1)
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["frames_out"] == 2 * FRAMES - 1
    assert summary["resumed_at"] >= 84 and summary["traffic"]["pairs"] <= FRAMES - 1 - 42
    assert_equal_films(target, undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["smooth.mkv"]


def test_control_c_leaves_what_is_done_usable(begin, own_server, film, undisturbed, tmp_path):
    target = tmp_path / "smooth.mkv"
    process, _ = begin(target, 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    last = err.splitlines()[-1]
    assert "interrupted" in last and "--resume" in last and "Traceback" not in err
    part = look_at(tmp_path / "smooth.mkv.parts" / "so-far.mkv")
    assert 84 <= len(part.frames) < 2 * FRAMES - 1
    assert_same(part.frames, look_at(undisturbed).frames[: len(part.frames)])
    assert run(own_server, film, target, "--resume") == 0
    assert_equal_films(target, undisturbed)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("eden__encoder", []),
        ("eden__dit_decoder", ["--chain", "--strategy", "batch", "--clip", "9"]),
        ("eden__encoder", ["--processes", "2"]),
    ],
)
def test_a_killed_worker_is_ridden_out(begin, own_server, undisturbed, tmp_path, model, options):
    target = tmp_path / "smooth.mkv"
    # A call that TorchServe loses in the moment in which it learns of the death is sent again after pace.LEAST.
    process, hold = begin(target, 3, "--json", *options, stdout=-1)
    (pid,) = own_server.worker_pids(model)
    hold.let_go()  # most likely it is in the middle of a call then
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["frames_out"] == 2 * FRAMES - 1
    assert_equal_films(target, undisturbed)
    wait_for(lambda: own_server.worker_pids(model) != [pid])  # a film may be over before TorchServe has seen the death


def test_a_killed_process_of_the_command_costs_nothing(begin, undisturbed, tmp_path):
    target = tmp_path / "smooth.mkv"
    process, hold = begin(target, 1, "--json", "--processes", "2", stdout=-1)
    victim, *_ = psutil.Process(process.pid).children()
    victim.kill()
    hold.let_go()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["frames_out"] == 2 * FRAMES - 1
    assert_equal_films(target, undisturbed)


def test_an_end_by_sigterm_is_like_control_c_and_ends_the_processes_too(begin, tmp_path):
    process, _ = begin(tmp_path / "smooth.mkv", 2, "--processes", "2")
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "--resume" in err.splitlines()[-1] and "Traceback" not in err
    psutil.wait_procs(children, timeout=60)
    assert not any(child.is_running() for child in children)


def test_a_server_that_is_away_is_waited_for_as_long_as_patience_lasts(begin, own_server, film, undisturbed, tmp_path):
    """Stopped in mid-film and started again: one run rides it out, an impatient one ends and is resumed later."""
    runs, holds = {}, []
    for name, patience in (("patient", "600"), ("hasty", "0.5")):
        runs[name], hold = begin(tmp_path / f"{name}.mkv", 1, "--patience", patience, "--json", stdout=-1)
        holds.append(hold)
    own_server.stop()
    for hold in holds:
        hold.let_go()
    out, err = runs["hasty"].communicate(timeout=120)
    assert runs["hasty"].returncode == 1
    assert "--resume" in err.splitlines()[-1] and "Traceback" not in err
    while "trying again" not in (line := runs["patient"].stderr.readline()):
        assert line, "it ended"
    own_server.start()
    out, err = runs["patient"].communicate(timeout=240)
    assert runs["patient"].returncode == 0, err
    assert json.loads(out.splitlines()[-1])["traffic"]["retries"] > 0
    assert_equal_films(tmp_path / "patient.mkv", undisturbed)
    assert run(own_server, film, tmp_path / "hasty.mkv", "--resume") == 0
    assert_equal_films(tmp_path / "hasty.mkv", undisturbed)
