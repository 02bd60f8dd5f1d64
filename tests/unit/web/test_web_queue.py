"""Films that wait, are put in order, held up, ended and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import av
import psutil
import pytest

from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from server.settings import Ports
from tests.unit.client.film.drawing import Drawing, Silent
from tests.unit.web.conftest import COUNT
from tests.unit.web.instant_film import HELD_AFTER
from tests.unit.web.services import PATIENCE, Visitor, held_up, running

pytestmark = pytest.mark.slow

ALL = 2 * COUNT - 1
FINISHED = 36
"""Frames of the segments that are finished while a film is held."""


@pytest.fixture(scope="module")
def whole(film, tmp_path_factory):
    """The bytes of the film that the command makes undisturbed."""
    made = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    interpolate_film(Order(str(film), str(made)), Drawing(), Silent())
    return made.read_bytes()


def count_frames(data, tmp_path):
    (tmp_path / "part.mp4").write_bytes(data)
    with av.open(tmp_path / "part.mp4") as film:
        return sum(1 for _ in film.decode(video=0))


def making(visitor):
    """The process that makes a film, once there is one."""
    until = time.monotonic() + PATIENCE
    while True:
        for each in psutil.Process().children():
            with suppress(psutil.Error):  # one that has just ended
                if str(visitor.folder) in " ".join(each.cmdline()):
                    return each
        assert time.monotonic() < until
        time.sleep(0.01)


def test_rate_and_time_left_are_told_once_a_frame_is_drawn(tmp_path, film, held):
    held.write_text("0")
    with running(tmp_path / "web") as visitor:
        id_ = visitor.send_film(film)["id"]
        copied = visitor.until(id_, lambda video: video["frames"] > 0)
        assert copied["frames_per_second"] is None and copied["eta_s"] is None
        held.write_text("")
        drawn = visitor.until(id_, lambda video: video["eta_s"] is not None)
        assert drawn["frames_per_second"] > 0 and drawn["eta_s"] > 0


def test_a_film_that_was_cancelled_or_killed_goes_on_where_it_was(tmp_path, film, whole, held):
    with running(tmp_path / "web") as visitor:
        id_ = visitor.send_film(film)["id"]
        working = held_up(visitor, id_)
        assert working["progress"] < 100 and working["expected_frames"] == pytest.approx(ALL, abs=2)
        assert working["frames_per_second"] > 0
        reply = visitor.patch_video(id_, status="cancelled")
        assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
        assert FINISHED <= count_frames(visitor.content(id_).content, tmp_path) < ALL
        assert visitor.patch_video(id_, status="queued").status_code == 200
        making(visitor).kill()
        failed = visitor.ended(id_)
        assert failed["status"] == "failed" and "by signal 9: retry continues from there" in failed["error"]
        held.unlink()
        assert visitor.patch_video(id_, status="queued").json()["error"] is None
        assert visitor.ended(id_)["frames"] == ALL
        assert visitor.content(id_).content == whole
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


def test_a_film_goes_on_after_the_service_was_ended(tmp_path, film, whole, held):
    port = Ports.free().inference
    with Visitor(f"http://127.0.0.1:{port}", tmp_path / "web") as visitor:
        process = serve(tmp_path / "web", port, held)
        try:
            answering(visitor, process)
            id_, later = visitor.send_film(film)["id"], visitor.send_film(film, "later.mp4")["id"]
            held_up(visitor, id_)
            for end in (signal.SIGTERM, signal.SIGKILL):
                process.send_signal(end)
                process.wait(PATIENCE)
                process = serve(tmp_path / "web", port, held)  # at once, beside the film's process of the earlier one
                answering(visitor, process)
                assert visitor.video(later)["name"] == "later.mp4"
                resumed = visitor.until(
                    id_, lambda video: video["status"] == "in_progress" and video["frames"] >= FINISHED
                )
                assert resumed["progress"] == 100 * resumed["frames"] // resumed["expected_frames"] >= 30
            held.unlink()
            assert visitor.ended(id_)["frames"] == ALL
            assert visitor.content(id_).content == whole
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


def test_the_film_is_held_in_the_middle():
    assert HELD_AFTER * 2 > FINISHED and ALL > 2 * FINISHED
