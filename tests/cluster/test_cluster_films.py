"""Films by a real Ray cluster: the same bytes as by one machine, whatever travels, and whichever node is lost."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest

from eden.random_weights import write_random
from eden_client.film import run
from eden_client.film.cluster.engine import EngineChoice
from eden_client.film.order import Order
from eden_client.film.plan import scouting
from eden_client.film.read import sound
from eden_client.film.run import interpolate_film
from media import MediaError, encode_image
from server.settings import PROJECT
from tests.cluster.on_nodes import Blending
from tests.unit.client.film.drawing import Drawing, Gone, Silent
from tests.unit.client.film.odd_films import drawings, film

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-cluster installs it"),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]

COUNT = 300
PATIENCE = 240


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    noise = np.random.default_rng(5).integers(0, 40, (COUNT, 48, 64, 3))
    frames = list(((np.stack(drawings(COUNT)) + noise) % 256).astype(np.uint8))
    return film(tmp_path_factory.mktemp("films") / "in.mp4", frames=frames, options={"g": "30", "bf": "2"})


def make(source, target, cluster=None, report=None, **wishes):
    order = Order(str(source), str(target), **{"cuts": None, "duplicates": "off"} | wishes)
    return interpolate_film(order, Drawing(), report or Silent(), None, cluster)


@pytest.fixture
def cluster(nodes):
    """Makes a connection of this process, with the client that nodes are to have."""
    from eden_client.film.cluster.ray_cluster import RayCluster

    opened = []

    def connect(client=None, **options):
        while opened:  # a process has one connection at a time
            opened.pop().close()
        opened.append(RayCluster(nodes.address, client or Blending(), **options))
        wait_until(lambda: len(opened[-1].nodes()) >= 2)
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def wait_until(holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("wishes", [{}, {"fps": Fraction(60), "codec": "hevc"}], ids=str)
def test_two_nodes_make_the_bytes_of_one_machine(source, tmp_path, cluster, wishes):
    here = make(source, tmp_path / "here.mp4", **wishes)
    there = make(source, tmp_path / "there.mp4", cluster(), **wishes)
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    assert there.frames_out == here.frames_out and there.traffic["pairs"] == here.traffic["pairs"]
    assert not (tmp_path / "there.mp4.parts").exists()


def test_a_lost_node_costs_nothing_but_time(source, tmp_path, nodes, cluster):
    make(source, tmp_path / "here.mp4")
    third, on = nodes.add(1), tmp_path / "go on"
    noted = tmp_path / "noted"
    noted.mkdir()
    on_three = cluster(Blending(noted, until=on))

    def is_at_one_that_waits():
        begun = (each.name.split("-") for each in noted.iterdir())
        return {int(pid) for number, pid, _ in begun if int(number) >= 3} & {each.pid for each in third.processes()}

    def lose():
        """The third, with what it makes."""
        wait_until(is_at_one_that_waits)
        third.kill()
        nodes.add(1)
        on.touch()

    losing, report = threading.Thread(target=lose), Silent()
    losing.start()
    make(source, tmp_path / "there.mp4", on_three, report)
    losing.join()
    begun = [each.name.split("-")[0] for each in noted.iterdir()]
    assert len(begun) > len(set(begun)), "no segment was made again"
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_nodes_that_compare_the_film_plan_the_same(source, tmp_path, cluster, monkeypatch):
    """All but the first stretches between two key frames, which the command compares by itself."""
    make(source, tmp_path / "here.mp4", cuts=0.3, duplicates="keep")
    there, compared = cluster(), list[object]()
    monkeypatch.setattr(run, "SCOUTING", 2)
    monkeypatch.setattr(sound, "SHORTEST", 30)
    monkeypatch.setattr(scouting._Asked, "are_ready", waited_for(scouting._Asked.are_ready))
    told = scouting._Asked.told
    monkeypatch.setattr(
        scouting._Asked, "told", lambda asked: (compared.append(each.stamp) or each for each in told(asked))
    )
    make(source, tmp_path / "there.mp4", there, cuts=0.3, duplicates="keep")
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    assert COUNT // 2 < len(compared) < COUNT


def waited_for(are_ready):
    def when_done(asked, stamp):
        if asked._pending and asked._pending[0][0].stretch.first == stamp:
            asked._pending[0][1].result(PATIENCE)
        return are_ready(asked, stamp)

    return when_done


def test_an_error_of_a_segment_ends_the_film_at_once_and_resume_goes_on(source, tmp_path, cluster):
    noted = tmp_path / "noted"
    noted.mkdir()
    with pytest.raises(Gone):
        make(source, tmp_path / "there.mp4", cluster(Blending(noted, gone_in=4)))
    assert len(list(noted.glob("4-*"))) == 1
    make(source, tmp_path / "here.mp4")
    make(source, tmp_path / "there.mp4", cluster(), resume=True)
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_being_told_to_end_means_what_it_did(cluster):
    """Ray has handlers of its own for that, also on the way out."""
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append(len(told)))
    try:
        connected = cluster()
        signal.raise_signal(signal.SIGTERM)
        connected.close()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [0, 1]


def test_what_has_no_time_stamps_travels_as_a_whole(source, tmp_path, cluster):
    path = film(tmp_path / "film.h264", frames=drawings(90))
    make(path, tmp_path / "here.mp4", source_fps=Fraction(24))
    make(path, tmp_path / "there.mp4", cluster(), source_fps=Fraction(24))
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_nodes_read_what_they_all_see(source, tmp_path, cluster):
    make(source, tmp_path / "here.mp4")
    make(source, tmp_path / "there.mp4", cluster(shared=f"file://{source.parent}"))
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    with pytest.raises(MediaError, match="cannot be read on"):
        make(source, tmp_path / "elsewhere.mp4", cluster(shared=str(tmp_path)))


def test_pictures_become_pictures(tmp_path, cluster):
    shots = tmp_path / "shots"
    shots.mkdir()
    for number, pixels in enumerate(drawings(40)):
        (shots / f"{number}.png").write_bytes(encode_image(pixels, "png"))
    make(shots, f"{tmp_path}/here/")
    make(shots, f"{tmp_path}/there/", cluster())
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert len(here) == 79 and here == there


def command(*arguments):
    """`eden-interpolate` as people run it."""
    call = [sys.executable, "-m", "eden_client", *map(str, arguments)]
    return subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)


def test_a_folder_of_films_by_engines_of_the_nodes(tmp_path, nodes):
    """One of them is no film: that one fails, the others are made. Drawn on the processors, since there is no GPU."""
    write_random(tmp_path / "weights")
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mkv"):
        film(tmp_path / "in" / name, frames=drawings(40))
    (tmp_path / "in" / "broken.mp4").write_bytes(b"none")
    options = "--ray", nodes.address, "--engine", tmp_path / "weights", "--json", "--strategy", "batch"
    done = command(tmp_path / "in", f"{tmp_path}/out/", *options)
    assert done.returncode == 1, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(each["frames_out"] for each in told if "frames_out" in each) == [79, 79]
    (error,) = [each["error"] for each in told if "error" in each]
    assert "broken.mp4" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mkv"]
    alone = command(tmp_path / "in" / "a.mp4", tmp_path / "alone.mp4", *options)
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "alone.mp4").read_bytes() == (tmp_path / "out" / "a.mp4").read_bytes()
    again = command(tmp_path / "in", f"{tmp_path}/out/", *options, "--resume")
    assert again.stderr.count("exists already") == 2


def test_a_lost_engine_costs_nothing_and_nothing_is_printed_beside_the_object(source, tmp_path, nodes):
    """Nothing on standard output, where Ray prints what it has to say."""
    write_random(tmp_path / "weights")
    options = "--ray", nodes.address, "--engine", tmp_path / "weights", "--json", "--strategy", "batch"
    whole = command(source, tmp_path / "whole.mp4", *options)
    assert whole.returncode == 0, whole.stderr
    lost, target = nodes.add(1), tmp_path / "out.mp4"
    call = [sys.executable, "-m", "eden_client", *map(str, (source, target, *options))]
    with (tmp_path / "told").open("w") as told:
        making = subprocess.Popen(call, cwd=PROJECT, stdout=subprocess.PIPE, stderr=told, text=True)
    try:
        journal = tmp_path / "out.mp4.parts" / "journal.json"
        wait_until(lambda: making.poll() is not None or (journal.exists() and '"number": 1,' in journal.read_text()))
        wait_until(lambda: making.poll() is not None or any("EngineHold" in name for name in lost.names()))
        lost.kill()
        nodes.add(1)
        out, _ = making.communicate(timeout=PATIENCE)
    finally:
        making.kill()
        making.wait()
    assert making.returncode == 0, (tmp_path / "told").read_text()
    assert json.loads(out)["frames_out"] == json.loads(whole.stdout)["frames_out"]
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_commands_share_engines_and_go_on_when_the_one_that_began_them_ends(source, tmp_path, nodes, cluster):
    """This process begins engines, which take all processors; a command draws with them, and then begins its own."""
    write_random(tmp_path / "weights")
    here = cluster(engine=EngineChoice(str(tmp_path / "weights"), "fp32", seed=0, window=2))
    interpolate_film(Order(str(source), str(tmp_path / "here.mp4"), clip=16), Drawing(), Silent(), None, here)
    target, options = tmp_path / "out.mp4", ("--ray", nodes.address, "--engine", tmp_path / "weights")
    call = [sys.executable, "-m", "eden_client", *map(str, (source, target, *options, "--strategy", "batch"))]
    with (tmp_path / "told").open("w") as told:
        making = subprocess.Popen(call, cwd=PROJECT, stdout=told, stderr=told)
    try:
        journal = tmp_path / "out.mp4.parts" / "journal.json"
        wait_until(lambda: making.poll() is not None or (journal.exists() and '"number": 1,' in journal.read_text()))
        here.close()
        making.wait(PATIENCE)
    finally:
        making.kill()
        making.wait()
    assert making.returncode == 0, (tmp_path / "told").read_text()
    assert target.read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_a_cluster_that_is_not_there_is_told_of_within_seconds(source, tmp_path):
    begun = time.monotonic()
    done = command(source, tmp_path / "out.mp4", "--ray", "127.0.0.1:9")
    assert done.returncode == 1 and "no Ray cluster at 127.0.0.1:9" in done.stderr
    assert time.monotonic() - begun < 60
    done = command(source, tmp_path / "out.mp4", "--ray", "nonsense")
    assert done.returncode == 1 and "neither auto nor host:port" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun, address = time.monotonic(), f"127.0.0.1:{silent.getsockname()[1]}"
        done = command(source, tmp_path / "out.mp4", "--ray", address)
    assert done.returncode == 1 and f"no Ray cluster at {address}: timed out" in done.stderr
    assert time.monotonic() - begun < 60
