"""Films sent, made and fetched."""

from __future__ import annotations

import json
import shutil

import av
import pytest

from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from media import MediaError
from media.names import open_input
from tests.unit.client.film.drawing import Drawing, Silent
from tests.unit.web.conftest import COUNT
from web.answers import ApiError
from web.film_kinds import kind_of
from web.film_options import arguments
from web.schemas import Options

pytestmark = pytest.mark.slow

NAME = "<script>alert('x')</script>&\u00e9.mp4"


@pytest.fixture(scope="module")
def made(visitor, film):
    """A film that is complete."""
    video = visitor.send_film(film, NAME)
    assert video["status"] in ("queued", "in_progress")
    return visitor.ended(video["id"])


def test_a_film_is_the_same_as_by_the_command(visitor, film, made, tmp_path):
    assert (made["status"], made["progress"], made["frames"]) == ("completed", 100, 2 * COUNT - 1)
    interpolate_film(Order(str(film), str(tmp_path / "out.mp4")), Drawing(), Silent())
    reply = visitor.content(made["id"])
    assert reply.content == (tmp_path / "out.mp4").read_bytes() and made["bytes"] == len(reply.content)
    assert reply.headers["Content-Type"] == "video/mp4"


def test_ranges_of_a_film(visitor, made):
    whole = visitor.content(made["id"]).content
    part = visitor.content(made["id"], headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    assert visitor.content(made["id"], headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_a_trial_in_slow_motion_of_the_same_upload(visitor, made):
    options = {"start": 1, "duration": 0.4, "slow_motion": 4, "format": "mkv"}
    reply = visitor.post("/v1/videos", json={"upload": made["upload"], "options": options})
    assert reply.status_code == 201
    assert visitor.ended(reply.json()["id"])["frames"] == 37


def test_what_is_no_film_is_said_in_words(visitor, tmp_path):
    (tmp_path / "no").write_bytes(b"\0no film" * 1000)
    made = visitor.ended(visitor.send_film(tmp_path / "no", "holiday.mp4")["id"])
    assert made["status"] == "failed" and "not a film of an accepted kind" in made["error"]
    assert visitor.content(made["id"]).status_code == 409


def test_a_list_of_other_files_reads_none_of_them(film, tmp_path):
    shutil.copy(film, tmp_path / "another")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile 'another'\n")
    with open_input(tmp_path / "list") as opened:  # FFmpeg by itself does
        assert opened.format.name == "concat" and opened.streams.video
    with pytest.raises(MediaError, match="not a film of an accepted kind"):
        kind_of(tmp_path / "list")


def test_errors_name_the_visitors_file_and_no_path_of_the_service(visitor, tmp_path):
    with av.open(tmp_path / "one.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    made = visitor.ended(visitor.send_film(tmp_path / "one.mp4", "holiday.mp4")["id"])
    assert made["error"] == "holiday.mp4: a single picture, so there is no frame between"


def test_a_script_in_a_name_is_text(visitor, made):
    reply = visitor.get(f"/v1/videos/{made['id']}")
    assert reply.json()["name"] == NAME and b"<" not in reply.content and b"&" not in reply.content
    assert reply.headers["Content-Type"] == "application/json"
    told = visitor.content(made["id"]).headers["Content-Disposition"]
    assert told.startswith("inline; ") and told.isascii() and "<" not in told


def test_pages_go_back_to_the_first(idle, film):
    visitor = idle
    first = visitor.send_film(film)
    sent = [first["id"]]
    for _ in range(4):
        sent.append(visitor.post("/v1/videos", json={"upload": first["upload"]}).json()["id"])
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = visitor.get("/v1/videos", params=query).json()
        assert len(page["data"]) <= 2
        found += [video["id"] for video in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == sent[::-1]
    visitor.patch_video(sent[2], status="cancelled")
    cancelled = visitor.get("/v1/videos", params={"status": "cancelled"}).json()["data"]
    assert [video["id"] for video in cancelled] == [sent[2]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 20_000, 400),
        (json.dumps({"upload": "0" * 32, "options": {"times": 3}}).encode(), 400),
        (json.dumps({"upload": "0" * 32, "path": "/etc/passwd"}).encode(), 400),
        (json.dumps({"upload": "../../etc/passwd"}).encode(), 400),
        (json.dumps({"upload": "0" * 32}).encode(), 404),
        (b" " * 100_000, 413),
    ],
)
def test_a_request_that_is_not_as_it_should_be(idle, body, status):
    reply = idle.post("/v1/videos", data=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == status and reply.json()["code"] == status and len(reply.content) < 1000


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"film": ("a", b"x"), "other": (None, b"x")}, 400),
        ({"options": (None, b"{}")}, 400),
        ({"film": ("a", b"x"), "options": (None, b"{")}, 400),
        ({"film": ("a", b"x"), "options": (None, b'{"times": 2, "fps": "60"}')}, 422),
        ({"film": ("a", b"x"), "options": (None, b" " * 100_000)}, 413),
    ],
)
def test_a_form_that_is_refused_leaves_no_upload(idle, fields, status):
    before = {*(idle.folder / "uploads").iterdir()}
    assert idle.post("/v1/videos", files=fields).status_code == status
    assert {*(idle.folder / "uploads").iterdir()} == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(), "--times 2"),
        (Options(fps="60000/1001"), "--fps 60000/1001"),
        (Options(slow_motion=4), "--times 4 --slow 4"),
        (Options(slow_motion=4, fps="30"), "--fps 30 --slow 4"),
        (Options(preset="animation", times=8), "--duplicates skip --times 8"),
        (Options(start=1.5, duration=3), "--times 2 --start 1.500000 --duration 3.000000"),
        (Options(quality="better"), "--times 2 --codec h264 --crf 12"),
        (Options(quality="smaller", format="webm"), "--times 2 --codec vp9 --crf 34"),
        (Options(codec="hevc"), "--times 2 --codec hevc"),
    ],
)
def test_options_are_those_of_the_command(options, told):
    assert " ".join(arguments(options)) == told


@pytest.mark.parametrize(
    "options",
    [
        Options(times=2, fps="60"),
        Options(format="gif", quality="better"),
        Options(format="webm", codec="h264"),
        Options(format="mov", codec="vp9"),
    ],
)
def test_options_that_exclude_each_other(options):
    with pytest.raises(ApiError) as refused:
        arguments(options)
    assert refused.value.status == 422
