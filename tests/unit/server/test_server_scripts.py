"""archive.sh and the making of .venv: what they say when something is wrong."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eden.random_weights import write_random
from server.settings import PROJECT
from server.topology import SPLIT, packed_settings

pytestmark = pytest.mark.slow


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=120, **options)


OPTIONS = (
    "topology checkpoint in-place precision handoff batch-size max-batch-delay encoder-workers decoder-workers live"
)
MORE_OPTIONS = "fused-workers decoder-gpus set output help"


def test_help_names_every_option():
    said = run(PROJECT / "archive.sh", "--help")
    assert said.returncode == 0
    assert set(re.findall(r"^  (?:-h, )?--([\w-]+)", said.stdout, re.MULTILINE)) == {
        *OPTIONS.split(),
        *MORE_OPTIONS.split(),
    }


def test_archive_sh_is_the_servers_command_pack(tmp_path):
    (tmp_path / "server").mkdir()  # the caller's own folder of that name is none of ours
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('not this one')")
    for arguments in (["--help"], ["--chekpoint"], ["--live", "--output", "."]):
        script = run(PROJECT / "archive.sh", *arguments, cwd=tmp_path)
        command = run(sys.executable, "-m", "server", "pack", *arguments, cwd=PROJECT)
        assert (script.returncode, script.stdout == "") == (command.returncode, command.stdout == "")
        called_as = (
            script.stdout + script.stderr,
            (command.stdout + command.stderr).replace("python -m server pack", "archive.sh"),
        )
        one, other = (" ".join(text.split()) for text in called_as)
        assert one == other


def test_relative_names_are_the_callers(tmp_path):
    write_random(tmp_path / "small")
    packed = run(
        PROJECT / "archive.sh", "--checkpoint", "small", "--output", "store/of mine", "--in-place", cwd=tmp_path
    )
    assert packed.returncode == 0, packed.stderr
    store = tmp_path / "store" / "of mine"
    assert {path.name for path in store.iterdir()} == set(SPLIT.archives)
    assert packed_settings(store / "encoder.mar")["checkpoint"] == str(tmp_path / "small")
    assert f"built in {store} from {tmp_path / 'small'}" in packed.stdout


def test_without_the_packages_it_says_what_to_do(tmp_path):
    """Where there is no .venv, and the Python on PATH has nothing installed."""
    for name in ("archive.sh", "server", "media"):
        (shutil.copytree if (PROJECT / name).is_dir() else shutil.copy)(PROJECT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dirname").symlink_to(shutil.which("dirname"))
    python = tmp_path / "bin" / "python"
    for missing, script in (("python", None), (r"[\w.]+", f'exec {sys._base_executable} -IS "$@"')):
        if script:
            python.write_text(f"#!/bin/sh\n{script}\n")
            python.chmod(0o755)
        said = run("/bin/sh", tmp_path / "archive.sh", env={"PATH": str(tmp_path / "bin")})
        assert said.returncode == 1
        assert re.fullmatch(f"archive.sh: {missing} is missing: run `make install` first\n", said.stderr)


def test_told_to_end_it_leaves_nothing_behind(tmp_path):
    weights, store = tmp_path / "weights", tmp_path / "store"
    weights.mkdir()
    os.mkfifo(weights / "config.json")  # who reads it waits
    (weights / "weights.safetensors").touch()
    command = [str(PROJECT / "archive.sh"), "--checkpoint", str(weights), "--output", str(store)]
    with subprocess.Popen(command) as packing:
        try:
            writing = opened_for_writing(weights / "config.json", packing)
            assert list(store.iterdir())
            packing.terminate()
            os.close(writing)  # told just before it reads, it would read for ever
            assert packing.wait() == 128 + signal.SIGTERM
            assert list(store.iterdir()) == []
        finally:
            packing.kill()


def opened_for_writing(fifo: Path, reader: subprocess.Popen) -> int:
    """A FIFO's other end, once the process reads from it."""
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:  # ENXIO: nobody reads yet
            assert error.errno == errno.ENXIO and reader.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--chekpoint", "x"], "unknown option --chekpoint"),
        (["--precision"], "--precision needs a value"),
        (["--checkpoint", "/no/such/file.pt"], "no checkpoint at /no/such/file.pt"),
        (["--batch-size", "0"], "'0' is not a whole number of at least 1"),
        (["--max-batch-delay", "soon"], "'soon' is not a whole number"),
        (
            ["--topology", "fused", "--handoff", "grpc"],
            "--handoff: --topology fused packs no model that it applies to",
        ),
        (["--set", "eden_fused:threads=1"], "--set eden_fused:threads: --topology split packs no model"),
        (["--set", "decoder:precision=bf16"], "expected [encoder:|dit_decoder:|eden_fused:|autostart:]KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_named_and_the_archives_stay_as_they_were(tmp_path, options, complaint):
    (tmp_path / "encoder.mar").write_text("the last build")
    said = run(PROJECT / "archive.sh", "--output", tmp_path, *options)
    assert said.returncode == 1
    assert complaint in said.stderr
    assert "Traceback" not in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.mar"]


def test_a_checkpoint_that_is_none_is_refused_and_the_archives_stay_as_they_were(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "weights.safetensors").write_bytes(b"nothing")
    store = tmp_path / "store"
    said = run(PROJECT / "archive.sh", "--output", store, "--checkpoint", broken)
    assert said.returncode == 1
    assert f"cannot read the encoder's tensors from {broken}" in said.stderr
    assert "Traceback" not in said.stderr
    assert list(store.iterdir()) == []


@pytest.fixture
def clone(tmp_path) -> Path:
    """The script that makes .venv, in a folder that has none."""
    (tmp_path / "server").mkdir()
    shutil.copy(PROJECT / "server" / "venv.sh", tmp_path / "server")
    return tmp_path


def with_python(clone: Path, script: str) -> dict[str, str]:
    """An environment whose only Python is this script."""
    bin_folder = clone / "bin"
    bin_folder.mkdir()
    for program in ("bash", "dirname", "env"):
        (bin_folder / program).symlink_to(shutil.which(program))
    python = bin_folder / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return os.environ | {"PATH": str(bin_folder), "PYTHON": ""}


def test_no_python_or_an_old_one_is_said_plainly(clone):
    said = run(clone / "server" / "venv.sh", env=with_python(clone, "exit 1"))
    assert said.returncode == 1
    assert "needs Python 3.11 or newer" in said.stderr
    assert not (clone / ".venv").exists()


def test_a_python_without_venv_is_said_plainly(clone):
    environment = with_python(clone, 'case "$2" in *ensurepip*) exit 1 ;; esac')
    said = run(clone / "server" / "venv.sh", env=environment)
    assert said.returncode == 1
    assert "python3-venv" in said.stderr


def test_the_notice_names_every_package_that_is_installed():
    wanted = re.findall(r"^([\w-]+)==", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
    notice = set(re.findall(r"[\w-]+", (PROJECT / "NOTICE").read_text()))
    assert len(wanted) > 20
    assert set(wanted) <= notice
