"""Films that wait, are put in order, held up, ended and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import av
import pytest

from server.settings import Ports
from tests.unit.web.conftest import COUNT
from tests.unit.web.instant_film import HELD_AFTER
from tests.unit.web.services import PATIENCE, Visitor, running

pytestmark = pytest.mark.slow

ALL = 2 * COUNT - 1
FINISHED = 36
"""Frames of the segments that are finished while a film is held."""


def held_up(visitor, id_):
    """The video once it is held in the middle, its first two segments finished."""
    journal = visitor.folder / "videos" / id_ / "film.mp4.parts" / "journal.json"
    until = time.monotonic() + PATIENCE
    while not (journal.exists() and journal.read_text().count('"number"') >= 2):
        assert time.monotonic() < until
        time.sleep(0.02)
    return visitor.until(id_, lambda video: video["status"] == "in_progress" and video["frames"] > 0)


def count_frames(data, tmp_path):
    (tmp_path / "part.mp4").write_bytes(data)
    with av.open(tmp_path / "part.mp4") as film:
        return sum(1 for _ in film.decode(video=0))


def test_a_cancelled_film_can_be_seen_and_taken_up_again(tmp_path, film, held):
    with running(tmp_path / "web") as visitor:
        id_ = visitor.send_film(film)["id"]
        working = held_up(visitor, id_)
        assert working["progress"] < 100 and working["expected_frames"] == pytest.approx(ALL, abs=2)
        assert working["frames_per_second"] > 0 and working["eta_s"] > 0
        reply = visitor.patch_video(id_, status="cancelled")
        assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
        part = visitor.content(id_).content
        assert FINISHED <= count_frames(part, tmp_path) < ALL
        held.unlink()
        assert visitor.patch_video(id_, status="queued").status_code == 200
        assert visitor.ended(id_)["frames"] == ALL
        whole = visitor.content(id_).content
        undisturbed = visitor.send_film(film)["id"]
        assert visitor.ended(undisturbed)["status"] == "completed"
        assert whole == visitor.content(undisturbed).content
        assert visitor.patch_video(id_, status="cancelled").status_code == 409


def test_order_pause_and_the_end_of_what_waits(tmp_path, film, held):
    with running(tmp_path / "web") as visitor:
        first = visitor.send_film(film)
        held_up(visitor, first["id"])
        rest = [visitor.post("/v1/videos", json={"upload": first["upload"]}).json()["id"] for _ in range(3)]
        assert [visitor.video(id_)["position"] for id_ in rest] == [0, 1, 2]
        assert visitor.patch_video(rest[2], position=0).json()["position"] == 0
        assert [visitor.video(id_)["position"] for id_ in rest] == [1, 2, 0]
        assert visitor.patch_video(rest[0], status="cancelled").json()["status"] == "cancelled"
        assert visitor.patch_video(rest[1], paused=True).json()["paused"] is True
        assert visitor.patch_video(first["id"], position=0).status_code == 409
        paused = visitor.patch_video(first["id"], paused=True).json()  # of which the next one takes the place
        assert (paused["status"], paused["paused"]) == ("queued", True)
        held_up(visitor, rest[2])
        assert visitor.delete(f"/v1/videos/{rest[2]}").status_code == 204
        assert not (tmp_path / "web" / "videos" / rest[2]).exists()
        assert visitor.video(rest[1])["status"] == "queued"
        held.unlink()
        assert visitor.patch_video(first["id"], paused=False).status_code == 200
        assert visitor.ended(first["id"])["frames"] == ALL
        assert visitor.video(rest[1])["status"] == "queued"


def serve(folder, port, hold):
    """A service as a process of its own, with films drawn by `instant_film`."""
    code = (
        "import sys; from dataclasses import replace; from web import __main__ as it; "
        "from tests.unit.web.services import INSTANT; settings = it._settings; "
        "it._settings = lambda *given: replace(settings(*given), command=INSTANT); sys.exit(it.main())"
    )
    arguments = ["--folder", str(folder), "--port", str(port), "--reserve", "0"]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=os.environ | {"HOLD": str(hold)})


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_film_goes_on_after_the_service_was_ended(tmp_path, film, held, end):
    port = Ports.free().inference
    with Visitor(f"http://127.0.0.1:{port}", tmp_path / "web") as visitor:
        process = serve(tmp_path / "web", port, held)
        try:
            answering(visitor, process)
            id_, later = visitor.send_film(film)["id"], visitor.send_film(film, "later.mp4")["id"]
            held_up(visitor, id_)
            process.send_signal(end)
            process.wait(PATIENCE)
            process = serve(tmp_path / "web", port, held)  # at once, beside the film's process of the earlier one
            answering(visitor, process)
            assert visitor.video(later)["name"] == "later.mp4"
            resumed = visitor.until(id_, lambda video: video["status"] == "in_progress" and video["frames"] >= FINISHED)
            assert resumed["progress"] == 100 * resumed["frames"] // resumed["expected_frames"] >= 30
            held.unlink()
            assert [visitor.ended(each)["frames"] for each in (id_, later)] == [ALL, ALL]
            assert visitor.content(id_).content == visitor.content(later).content
        finally:
            process.kill()
            process.wait()


def answering(visitor, process):
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return visitor.get("/v1/videos")
        except OSError:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)


def test_a_film_whose_process_is_killed_can_be_retried(tmp_path, film, held):
    import psutil

    with running(tmp_path / "web") as visitor:
        id_ = visitor.send_film(film)["id"]
        held_up(visitor, id_)
        (making,) = (each for each in psutil.Process().children() if str(tmp_path) in " ".join(each.cmdline()))
        making.kill()
        failed = visitor.ended(id_)
        assert failed["status"] == "failed" and "by signal 9: retry goes on from there" in failed["error"]
        held.unlink()
        visitor.patch_video(id_, status="queued")
        assert visitor.ended(id_)["frames"] == ALL


def test_the_film_is_held_in_the_middle():
    assert HELD_AFTER * 2 > FINISHED and ALL > 2 * FINISHED
