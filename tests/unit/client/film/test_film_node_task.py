"""A segment made where nothing is but what travelled: the same files, and errors that say what is wrong."""

from __future__ import annotations

import pickle

import pytest

from eden_client.film.cluster.excerpts import FileExcerpt, FileExcerpts
from eden_client.film.cluster.node_task import (
    NeedsAll,
    NotMade,
    SentFilm,
    SharedFile,
    WholeFile,
    make_segment,
    software,
)
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from media import MediaError
from tests.unit.client.film.drawing import Drawing, Gone, Silent
from tests.unit.client.film.odd_films import drawings, film

pytestmark = pytest.mark.slow


class Lacking(Exception):
    """A node has not got all that it needs."""


class OneAfterTheOther:
    """A cluster of one node, whose work is done as it is sent, by pickles alone. Fulfils Cluster and Executor."""

    side_by_side = at_once = 1

    def __init__(self, sent="excerpt", connect=lambda number: Drawing(), versions=None):
        self.sent, self.connect, self.versions = sent, connect, versions or software()

    def executor(self, film, order, trace):
        self.film, self.order, self.known = film, order, film.known()
        return self

    def run(self, task, jobs, observer):
        path = self.film.container
        excerpts = FileExcerpts(path, self.known, None, False)
        sent_film = SentFilm(task, self.known, self.film.look, None, False, self.versions)
        for job in jobs:
            cut = excerpts.cut(job)
            ways = {
                "excerpt": cut,
                "whole": WholeFile(1000, [path.read_bytes()[at : at + 1000] for at in range(0, self.known.size, 1000)]),
                "nothing": FileExcerpt([]),
            }
            head = [] if self.sent == "nothing" else excerpts.head
            sent = ways.get(self.sent) or SharedFile(self.sent)
            travelling = pickle.loads(pickle.dumps((sent_film, head, job, sent)))
            answer = pickle.loads(pickle.dumps(make_segment(*travelling, self.connect, lambda piece: piece)))
            if isinstance(answer, NotMade):
                raise answer.error
            if isinstance(answer, NeedsAll):
                raise Lacking
            for name, data in answer.files.items():
                (task.sinks.folder / name).write_bytes(data)
            observer.wrote(answer.what, answer.times)
            observer.finished(answer.entry, answer.traffic)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return film(tmp_path_factory.mktemp("films") / "in.mp4", frames=drawings(120))


def make(source, target, cluster=None, **wishes):
    order = Order(str(source), str(target), **{"cuts": None, "duplicates": "off"} | wishes)
    return interpolate_film(order, Drawing(), Silent(), None, cluster)


@pytest.mark.parametrize("way", ["excerpt", "whole", "shared"])
def test_a_film_made_of_what_travels_is_the_same(source, tmp_path, way):
    make(source, tmp_path / "here.mp4")
    summary = make(source, tmp_path / "there.mp4", OneAfterTheOther(str(source) if way == "shared" else way))
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    assert summary.frames_out == 239 and summary.traffic["pairs"] == 119
    assert summary.seconds["encode"] > 0 and summary.seconds["to_first_new_frame"] > 0


def test_pictures_come_back_too(source, tmp_path):
    make(source, f"{tmp_path}/here/")
    make(source, f"{tmp_path}/there/", OneAfterTheOther())
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert len(here) == 239 and here == there


def test_what_does_not_hold_all_is_no_error(source, tmp_path):
    with pytest.raises(Lacking):
        make(source, tmp_path / "there.mp4", OneAfterTheOther("nothing"))


def test_errors_come_back_as_they_are(source, tmp_path):
    with pytest.raises(Gone):
        make(source, tmp_path / "there.mp4", OneAfterTheOther(connect=lambda number: Drawing(lasts=3)))


def test_another_file_at_the_shared_place_is_refused(source, tmp_path):
    (tmp_path / "in.mp4").write_bytes(source.read_bytes() + b"more")
    with pytest.raises(MediaError, match=r"in\.mp4 has \d+ bytes on .*, INPUT has \d+"):
        make(source, tmp_path / "there.mp4", OneAfterTheOther(str(tmp_path / "in.mp4")))
    with pytest.raises(MediaError, match=r"none\.mp4 cannot be read on "):
        make(source, tmp_path / "there.mp4", OneAfterTheOther(str(tmp_path / "none.mp4")))


def test_a_node_with_other_software_is_refused(source, tmp_path):
    with pytest.raises(MediaError, match=r"has PyAV .*, but the film is planned with 1\.2"):
        make(source, tmp_path / "there.mp4", OneAfterTheOther(versions=software() | {"PyAV": "1.2"}))
