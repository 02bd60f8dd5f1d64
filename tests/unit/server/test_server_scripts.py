"""archive.sh and the making of .venv: what they say when something is wrong."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from server.settings import PROJECT

pytestmark = pytest.mark.slow


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=120, **options)


def test_help_names_every_option():
    said = run(PROJECT / "archive.sh", "--help")
    assert said.returncode == 0
    for option in ("--checkpoint", "--precision", "--handoff", "--batch-size", "--max-batch-delay", "--output"):
        assert option in said.stdout


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
            "--handoff: nothing that it is for is packed by --topology fused",
        ),
        (["--set", "eden_fused:threads=1"], "--set eden_fused:threads: nothing that it is for is packed"),
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
    assert f"cannot take the encoder's tensors out of {broken}" in said.stderr
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
