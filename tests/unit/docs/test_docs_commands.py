"""Commands that pages name are there, with the options that they are given; a shell can read what is a script."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import media
from server.settings import PROJECT
from tests.unit.docs.pages import Page, pages

PAGES = [page for page in pages() if page.path.name != "CHANGELOG.md"]
"""All that name what there is, and not what there was."""
PROGRAMS = {"eden-interpolate": "eden_client", "eden-serve": "server"}
"""Commands of ours, and the modules that they are."""
CALL = re.compile(rf"(?:python3? -m |(?<![\w/-])(?:\.venv/bin/)?(?={'|'.join(PROGRAMS)}))([\w.-]+\w)([^|;&#>]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
OURS = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith((".", "run"))}
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
FOREIGN = {"--ts-config", "--montage", "--plan-minutes"}
"""Options that stand alone on our pages: of TorchServe, of Practical-RIFE, and of a trainer that was."""
HELP = """
import contextlib, io, json, runpy, sys

told = []
for module, *command in json.loads(sys.stdin.read()):
    sys.argv = [module, *command, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    told.append(out.getvalue())
json.dump(told, sys.stdout)
"""
"""One process for all, since some import PyTorch."""
LOCUST = """
import loadtest._setup
from locust.argument_parser import get_parser

get_parser().print_help()
"""
"""Its own --help does not read a locustfile, and so leaves ours out."""


@cache
def calls() -> dict[tuple[str, ...], dict[str, set[str]]]:
    """Of each module of ours that is called, and its subcommand: its options, and on which pages they stand."""
    found: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for page in PAGES:
        for line in page.code:
            for name, rest in CALL.findall(line):
                for command, options in _commands(PROGRAMS.get(name, name), rest):
                    found[command] |= {}
                    for option in options:
                        found[command][option].add(str(page))
    return found


def _commands(module: str, rest: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """(command, options); what stands behind `--` of the page's service goes to the film's command."""
    own, _, passed_on = rest.partition(" -- ")
    if module.partition(".")[0] in OURS:
        words = own.split()
        command = (module, words[0]) if module == "server" and words and words[0].isalpha() else (module,)
        yield command, OPTION.findall(own)
    if module == "web":
        yield ("eden_client",), OPTION.findall(passed_on)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_scripts_can_be_read(page: Page):
    for language, block in page.blocks:
        if language == "sh":
            read = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, timeout=250)
            assert not read.stderr, block


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_can_be_read(page: Page):
    for language, block in page.blocks:
        if language == "python":
            compile(block, str(page), "exec")


@pytest.mark.slow
def test_a_node_without_a_server_draws_what_is_between(tmp_path: Path):
    drawing = [
        sys.executable,
        "-m",
        "eden_client.cli.demo_clip",
        "--stills",
        str(tmp_path / "run" / "demo" / "clip.mp4"),
    ]
    (tmp_path / "run" / "demo").mkdir(parents=True)
    (tmp_path / "weights").symlink_to(PROJECT / "weights")
    subprocess.run(drawing, cwd=PROJECT, check=True, capture_output=True, timeout=250)
    (example,) = (
        block
        for page in PAGES
        if page.path.name == "torchserve.md"
        for language, block in page.blocks
        if language == "python"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.stdout == "200 image/png\n"
    between = (tmp_path / "run" / "demo" / "by-hand.png").read_bytes()
    assert media.decode_image(between, max_pixels=10**6).shape == (256, 448, 3)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_make_is_asked_for_it_makes(page: Page):
    asked = {target for line in page.code for target in re.findall(r"(?<![\w-])make ([a-z][a-z-]*)", line)}
    assert asked <= TARGETS


def test_modules_that_are_called_are_there():
    assert len(calls()) > 10
    for module, *_ in calls():
        found = importlib.util.find_spec(module)
        assert found, module
        assert not found.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__"), module


@pytest.mark.slow
def test_options_that_are_named_are_there():
    asked = {command: options for command, options in calls().items() if options}
    told = subprocess.run(
        [sys.executable, "-c", HELP],
        input=json.dumps(list(asked)),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    for (command, options), text in zip(asked.items(), json.loads(told.stdout), strict=True):
        known = {*OPTION.findall(text), "--help"}
        assert options.keys() <= known, (command, {name: options[name] for name in options.keys() - known})


def test_options_of_packing_are_there():
    named = _options_of(r"(?:archive\.sh|eden-serve pack)")
    assert named > {"--checkpoint", "--topology"}
    assert named <= _told(["./archive.sh", "--help"])


@pytest.mark.slow
def test_options_of_load_tests_are_there():
    named = _options_of(r"locust(?: -f loadtest/)?")
    assert named > {"--headless", "--clip"}
    assert named <= _told([sys.executable, "-c", LOCUST])


def test_options_that_stand_alone_are_somebodys():
    """Of any program here: an option in backticks by itself does not say whose it is."""
    sources = [path for folder in OURS for path in (PROJECT / folder).rglob("*.py")]
    known = {option for path in sources for option in re.findall(r"[\"'](--[a-z][a-z0-9-]*)", path.read_text())}
    alone = {OPTION.findall(span)[0]: str(page) for page in PAGES for span in page.spans if re.match(r"--[a-z]", span)}
    assert len(alone) > 30
    assert {option: page for option, page in alone.items() if option not in known | FOREIGN} == {}


def _options_of(command: str) -> set[str]:
    """All that pages give it."""
    lines = [line for page in PAGES for line in page.code]
    return {
        option
        for line in lines
        for rest in re.findall(f"{command}([^|;&#>]*)", line)
        for option in OPTION.findall(rest)
    }


def _told(command: list[str]) -> set[str]:
    """The options in what a command prints."""
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=250, check=True)
    return {*OPTION.findall(done.stdout), "--help"}
