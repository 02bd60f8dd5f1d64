"""What pip installs, used from an empty folder: the commands of docs/install.md, with no file of the checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import media
from server.settings import PROJECT
from tests.e2e.servers import run_printed_call

PACKAGES = ["eden", "eden_client", "handlers", "handoff", "media", "server", "serving", "tracing", "training", "web"]
LOOSE = {"config.properties", "workflow/eden.yaml"} | {
    f"weights/demo/{name}" for name in ("README.md", "config.json", "weights.safetensors")
}
"""Files outside of packages that go along, in server/shipped."""
STAY = {"server/venv.sh", "training/README.md", "eden_client/README.md"}
"""Files of packages that are for the checkout alone."""
WHERE = f"import json, {', '.join(PACKAGES)}; print(json.dumps([m.__file__ for m in ({', '.join(PACKAGES)})]))"
PAGE = (PROJECT / "docs" / "install.md").read_text()
FIRST_RUN = re.search(r"## First run\n.*?```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a copy of what it is made of."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    source.mkdir()
    for name in (*PACKAGES, "workflow", "weights", "pyproject.toml", "config.properties", "LICENSE", "NOTICE"):
        if (PROJECT / name).is_dir():
            shutil.copytree(
                PROJECT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        else:
            shutil.copy(PROJECT / name, source)
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", source.parent)
    pip("wheel", *options, source)
    (built,) = source.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in a venv with the wheel, which sees the packages that are installed here."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched for modules, but its own .pth files, such as this checkout's, are not read.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.fixture(scope="module")
def home(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder; a server that is started in it is stopped in the end."""
    folder = tmp_path_factory.mktemp("home")
    yield folder
    run(programs, folder, "eden-serve", "stop")


def pip(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def run(programs: Path, folder: Path, *call: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, with nothing of this process's paths but what the system has."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"PATH": os.pathsep.join([str(programs), os.defpath])} | more
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_the_wheel_holds_all_of_its_packages_and_what_they_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in LOOSE:
            assert archive.read(f"server/shipped/{name}") == (PROJECT / name).read_bytes()
    files = (path for package in PACKAGES for path in (PROJECT / package).rglob("*") if path.is_file())
    wanted = {path.relative_to(PROJECT).as_posix() for path in files if "__pycache__" not in path.parts}
    wanted = {name for name in wanted if not name.startswith("server/shipped/")} - STAY
    assert held == wanted | {f"server/shipped/{name}" for name in LOOSE}


def test_modules_come_from_the_wheel(programs: Path, tmp_path: Path) -> None:
    said = run(programs, tmp_path, "python", "-c", WHERE)
    assert said.returncode == 0, said.stderr
    places = [Path(file) for file in json.loads(said.stdout)]
    assert len(places) == len(PACKAGES)
    assert all(place.is_relative_to(programs.parent) for place in places), places


@pytest.mark.parametrize("command", ["pack", "start", "run", "drain", "stop", "status", "doctor"])
def test_each_command_says_where_its_folders_are(programs: Path, tmp_path: Path, command: str) -> None:
    said = run(programs, tmp_path, "eden-serve", command, "--help")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"usage: eden-serve {command} ")
    here = {"pack": ["model_store"], "start": ["run/server", "model_store"]}.get(command, ["run/server"])
    assert all(re.search(rf"default:\s+{folder}\)?", said.stdout) for folder in here), said.stdout


def test_what_is_missing_is_said_with_the_command_that_is_there(programs: Path, tmp_path: Path) -> None:
    for command in ("start", "doctor"):
        said = run(programs, tmp_path, "eden-serve", command, "--ports", "free")
        assert said.returncode == 1
        assert "is missing: build it with eden-serve pack." in said.stdout + said.stderr
        assert "archive.sh" not in said.stdout + said.stderr
    assert not (tmp_path / "model_store").exists()


@pytest.mark.timeout(1800)  # eight commands, on a machine that may have other work
def test_the_first_run_of_the_page(programs: Path, home: Path) -> None:
    assert FIRST_RUN
    server: dict[str, str] = {}
    said: dict[str, str] = {}
    for line in FIRST_RUN[1].splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["eden-serve", "start"] or words[:2] == ["eden-serve", "doctor"]:
            words += ["--ports", "free"]
        if words[:2] == ["eden-serve", "status"]:
            words += ["--within", "60"]  # a machine with other work may be slow to answer
        if words[0] == "eden-interpolate":
            words += ["--duration", "0.3"]
        done = run(programs, home, *words, **server)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        said[" ".join(words[:2])] = done.stdout
        if words[:2] == ["eden-serve", "start"]:
            (address,) = re.findall(r"^Serving +(http://[^/]+)/wfpredict/eden$", done.stdout, re.MULTILINE)
            server = {"EDEN_SERVER": address}
        if words[:2] == ["eden-serve", "status"]:
            assert run_printed_call(done.stdout, home).shape == (64, 96, 3)
    assert said["eden-serve doctor"].splitlines()[-1].startswith(f"The server in {home}/run/server can serve")
    assert f"built in {home}/model_store from {programs.parent}" in said["eden-serve pack"]
    assert "All accepted calls were finished; stopped." in said["eden-serve drain"]
    assert f"No server runs in {home}/run/server." in said["eden-serve stop"]
    with media.open_video(home / "smooth.mp4") as video:
        assert (video.rate, video.size) == (24, (256, 448))
        assert sum(1 for _ in video.frames()) > 4
    assert {path.name for path in home.iterdir()} >= {"model_store", "run", "clip.mp4", "smooth.mp4"}


def test_what_the_page_names_is_there() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"pip install '[^'\[]*\[([\w,]+)\]'", PAGE):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), extras
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(project["optional-dependencies"])
