"""Many films at once: which of a folder, where they go, and what becomes of one that fails; what --ray refuses."""

from __future__ import annotations

import sys
import threading

import pytest

from eden_client.cli.films import InOut, films_in, make_all
from eden_client.cli.main import main
from media import MediaError


def folder_of(path, *names):
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def test_films_keep_their_names_and_others_become_mkv(tmp_path):
    films = folder_of(tmp_path / "in", "b.MP4", "a.mkv", "c.avi", "notes.txt", "._a.mkv", "loop.gif")
    (films / "more.mp4").mkdir()
    out = tmp_path / "out"
    assert [(each.source.name, each.target.relative_to(out).name) for each in films_in(str(films), str(out))] == [
        ("a.mkv", "a.mkv"),
        ("b.MP4", "b.MP4"),
        ("c.avi", "c.avi.mkv"),
        ("loop.gif", "loop.gif"),
    ]
    assert out.is_dir()


@pytest.mark.parametrize("names", [("1.png", "2.png"), ("1.png", "film.mp4"), ("notes.txt",)], ids=str)
def test_a_folder_with_pictures_is_one_film_as_ever(tmp_path, names):
    assert films_in(str(folder_of(tmp_path / "in", *names)), str(tmp_path / "out.mp4")) == []
    assert not (tmp_path / "out.mp4").exists()


def test_films_go_into_another_folder(tmp_path):
    films = str(folder_of(tmp_path / "in", "a.mp4"))
    for target, why in (
        (tmp_path / "out.mp4", "OUTPUT must be a folder"),
        (films, "must not be the folder"),
        (tmp_path / "none" / "out", "no such folder"),
    ):
        with pytest.raises(MediaError, match=why):
            films_in(films, str(target))


def test_all_are_made_and_the_worst_exit_code_counts(tmp_path):
    made = []

    def make(film):
        made.append(film.source.name)
        return 1 if film.source.name == "3" else 0

    films = [InOut(tmp_path / str(number), tmp_path / "out") for number in range(12)]
    assert make_all(films, make, threading.Event()) == 1
    assert sorted(made, key=int) == [str(number) for number in range(12)]


def test_an_error_that_nobody_foresaw_is_told_once_the_others_are_made(tmp_path):
    made = []

    def make(film):
        made.append(film.source.name)
        if film.source.name == "1":
            raise RuntimeError("not foreseen")
        return 0

    with pytest.raises(RuntimeError, match="not foreseen"):
        make_all([InOut(tmp_path / str(number), tmp_path / "out") for number in range(12)], make, threading.Event())
    assert len(made) == 12


def test_what_is_interrupted_waits_for_the_films_at_hand_and_begins_no_others(tmp_path, monkeypatch):
    stop, begun, ended = threading.Event(), threading.Semaphore(0), []

    def make(film):
        begun.release()
        assert stop.wait(60)
        ended.append(film.source.name)
        return 130

    def interrupted(futures):
        for _ in range(4):
            assert begun.acquire(timeout=60)
        raise KeyboardInterrupt

    monkeypatch.setattr("eden_client.cli.films.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_all([InOut(tmp_path / str(number), tmp_path / "out") for number in range(12)], make, stop)
    assert sorted(ended) == ["0", "1", "2", "3"]


def refused(capsys, *arguments):
    assert main(["in.mp4", "out.mp4", *arguments]) == 1
    return capsys.readouterr().err.strip()


def test_without_ray_an_error_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    needs = "--ray needs ray: pip install 'path/to/checkout/packaging/eden-client[cluster]', or beside the server "
    needs += "'path/to/checkout[cluster]'"
    assert refused(capsys, "--ray", "auto").endswith(needs)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--engine", "weights"), "--engine needs --ray"),
        (("--ray-source", "/films"), "--ray-source needs --ray"),
        (("--server", "http://a:1,http://b:2"), "several servers need --ray"),
        (("--ray", "auto", "--processes", "2"), "--processes is for this machine alone"),
    ],
)
def test_options_that_do_not_go_together(capsys, arguments, why):
    assert why in refused(capsys, *arguments)
