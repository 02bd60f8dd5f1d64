"""A server's folder: what is not ours in it stays, and one start or stop at a time is under way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server import Server, ServerError
from server.folder import OWN, FolderError, ServerFolder
from server.processes import Identity
from server.settings import PROJECT

pytestmark = pytest.mark.slow

HOLD = """
import sys
from pathlib import Path
from server.folder import ServerFolder
with ServerFolder(Path(sys.argv[1])).locked():
    print(flush=True)
    sys.stdin.read()
"""


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "server", *map(str, arguments)]
    return subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def theirs(tmp_path) -> Path:
    """Somebody's folder, with files of all the names that a server's folder has."""
    folder = tmp_path / "theirs"
    for name in (
        "bin/tool",
        "tmp/draft",
        "logs/log",
        "config.properties",
        "key_file.json",
        "state.json",
        "handoff.key",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    return folder


def state_of(folder: Path, temporary: Path, java: Identity | None = None) -> None:
    """A server's folder as one that was killed leaves it."""
    place = ServerFolder(folder)
    place.claim()
    java = java or Identity(1 << 22, "none")
    state = {
        "java": vars(java),
        "temporary": str(temporary),
        "model_store": "/none",
        "properties": {},
    }
    place.state.write_text(json.dumps(state))


def test_start_and_stop_leave_a_folder_alone_that_is_no_servers(theirs):
    before = contents(theirs)
    started = command("start", "--folder", theirs)
    assert started.returncode == 1
    assert f"{theirs} is not empty" in started.stderr and "Traceback" not in started.stderr
    stopped = command("stop", "--folder", theirs)
    assert (stopped.returncode, stopped.stdout) == (0, f"No server runs in {theirs}.\n")
    assert command("status", "--folder", theirs).returncode == 1
    assert contents(theirs) == before


def test_a_stop_removes_what_is_ours_and_nothing_else(tmp_path):
    folder = tmp_path / "server"
    place = ServerFolder(folder)
    place.claim()
    temporary = place.make_temporary()
    state_of(folder, temporary)
    for name in ("notes.txt", "bin/tool", "tmp/draft", "logs/log"):  # put there since
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("precious")
    kept = {name: text for name, text in contents(folder).items() if not name.startswith(OWN)}
    (temporary / "socket").touch()
    place.configuration.touch()
    place.key_file.touch()
    Server(folder=folder).stop()
    assert not temporary.exists()
    assert contents(folder) == kept | {f"{OWN}/lock": ""}
    place.key_file.write_text("of another day")
    Server(folder=folder).stop()
    assert place.key_file.exists()


def test_links_are_never_followed_into_what_they_name(theirs, tmp_path):
    before = contents(theirs)
    folder = tmp_path / "server"
    state_of(folder, folder / OWN / "tmp")
    (folder / OWN / "tmp").symlink_to(theirs)
    (folder / "key_file.json").symlink_to(theirs / "key_file.json")
    (folder / OWN / "config.properties").symlink_to(theirs / "config.properties")
    Server(folder=folder).stop()
    assert not (folder / OWN / "tmp").is_symlink()
    state_of(tmp_path / "other", theirs)  # a state that names a folder which no server made
    Server(folder=tmp_path / "other").stop()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / OWN).symlink_to(folder / OWN)
    with pytest.raises(ServerError, match="not empty"):
        Server(folder=tmp_path / "linked").start()
    assert contents(theirs) == before


def test_the_copy_of_a_running_servers_folder_is_no_running_server(tmp_path):
    place = ServerFolder(tmp_path / "server")
    temporary = place.own / "tmp"
    marked = f"-Djava.io.tmpdir={temporary}"
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", marked], stdin=subprocess.PIPE
    ) as java:
        state_of(place.path, temporary, Identity.of(java.pid))
        assert Server(folder=place.path).is_running()
        copy = ServerFolder(tmp_path / "copy")
        copy.claim()
        copy.state.write_text(place.state.read_text())
        assert not Server(folder=copy.path).is_running()
        assert not Server(folder=copy.path).stop()
        assert java.poll() is None
        assert Server(folder=place.path).stop()
        assert java.wait(60) is not None


def test_a_long_path_gets_a_temporary_folder_elsewhere_which_goes_with_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("long" * 30, "mañana 日", "with:colon"):
        place = ServerFolder(tmp_path / name)
        place.claim()
        temporary = place.make_temporary()
        assert temporary.parent == tmp_path and place.owns_temporary(temporary)
        assert not ServerFolder(tmp_path / "another").owns_temporary(temporary)
        place.clear(temporary)
        assert not temporary.exists()


def test_a_second_start_or_stop_waits_for_the_first_to_end(tmp_path):
    place = ServerFolder(tmp_path / "server")
    state_of(place.path, place.own / "tmp")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, place.path], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        first.stdout.readline()
        with pytest.raises(FolderError, match="under way"), place.locked(patience=0):
            pass
        with pytest.raises(ServerError, match="under way"):
            Server(folder=place.path).start(timeout=0)
        call = [sys.executable, "-m", "server", "stop", "--folder", place.path]
        with subprocess.Popen(call, cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stop:
            assert "under way: waiting" in stop.stderr.readline()
            assert place.state.exists() and stop.poll() is None
            first.kill()  # the lock goes with the process
            assert stop.wait(120) == 0
    assert not place.state.exists()


def test_a_reader_that_goes_away_is_no_error_to_tell(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    call = [sys.executable, "-m", "server", "stop", "--folder", tmp_path]
    done = subprocess.run(call, cwd=PROJECT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
