"""What the distributions say they need: all that their modules import, and no more; pinned once, and locked."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from server.settings import PROJECT

WHOLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())
CLIENT = tomllib.loads((PROJECT / "packaging/eden-client/pyproject.toml").read_text())
OURS = {pattern.rstrip("*") for pattern in WHOLE["tool"]["setuptools"]["packages"]["find"]["include"]} | {"eden_client"}

MORE = {
    "client": ["eden_client/api/grpc_route.py"],
    "server": [
        "handoff/buffers/cuda_runtime.py",
        "handoff/transports/network/grpc.py",
        "handoff/transports/network/websocket.py",
        "handoff/transports/network/zeromq.py",
    ],
    "cluster": ["eden_client/film/cluster"],
    "tracing": ["serving/span_export.py"],
    "web": ["web"],
    "train": ["training"],
}
"""The modules that each extra is for. No other module needs one."""
CLIENTS_NAME = {"client": "grpc", "cluster": "cluster"}
"""What such an extra is called in the client's own distribution."""
CLIENTS_PACKAGES = {"eden_client", "media", "tracing"}
BROUGHT_BY_TORCH = {"triton"}
"""By its CUDA builds, and asked for only there."""
WITH_A_SERVER_ONLY = {"torch", "eden", "handoff", "serving", "server"}
"""What modules of the client use where the machine is a server's as well, or is given."""
RUN_OR_READ = {
    "setuptools": "torchserve imports it without saying so",
    "torch-model-archiver": "server/pack.py runs it",
    "torch-workflow-archiver": "server/pack.py runs it",
    "scikit-image": "training reads the pictures that it carries",
    "websockets": "uvicorn speaks it for the page's live pictures",
}
NOT_IN_THE_REQUIREMENTS = {"cluster", "deploy", "docs", "mutants"}
"""Extras that `make install` leaves out, since they are large, and for few."""


def modules_of(extra: str | None) -> list[Path]:
    """The modules that an extra is for; None: those that need none."""
    every = [path for package in sorted(OURS) for path in sorted((PROJECT / package).rglob("*.py"))]
    places = {name: [PROJECT / each for each in named] for name, named in MORE.items()}
    if extra is not None:
        return [path for path in every if any(path.is_relative_to(place) for place in places[extra])]
    return [
        path for path in every if not any(path.is_relative_to(place) for named in places.values() for place in named)
    ]


def imported(paths: Iterable[Path]) -> set[str]:
    """The top names of what these modules import from elsewhere, at whatever moment."""
    names: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


def names_of(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


@cache
def installed() -> Mapping[str, list[str]]:
    """The distributions that bring each top name: all that are installed are read for it."""
    return packages_distributions()


def distributions_of(module: str) -> set[str]:
    """What brings a module; where it is not installed, what is named like it."""
    return {canonicalize_name(name) for name in installed().get(module, [module])}


def extras_of(project: Mapping[str, object]) -> dict[str, list[str]]:
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    return extras


def asked_for(project: Mapping[str, object], but: Iterable[str] = ()) -> list[Requirement]:
    """All that a distribution asks for, with all extras but some."""
    named = chain(project["dependencies"], *(of for extra, of in extras_of(project).items() if extra not in but))
    return [each for each in map(Requirement, named) if each.name != project["name"]]


@pytest.mark.parametrize("extra", [None, *MORE])
def test_what_modules_import_is_declared_and_what_is_declared_is_used(extra: str | None) -> None:
    project = WHOLE["project"]
    own = names_of(project["dependencies"] if extra is None else extras_of(project)[extra])
    declared = own | names_of(project["dependencies"])
    others = {name: distributions_of(name) for name in imported(modules_of(extra)) - OURS - BROUGHT_BY_TORCH}
    assert others
    assert {name for name, brought_by in others.items() if not brought_by & declared} == set()
    used = set().union(*others.values()) | set(RUN_OR_READ)
    assert own - used == set()


@pytest.mark.parametrize("extra", [None, *CLIENTS_NAME])
def test_the_client_by_itself_declares_what_its_modules_import(extra: str | None) -> None:
    project = CLIENT["project"]
    declared = names_of(project["dependencies"] + (extras_of(project)[CLIENTS_NAME[extra]] if extra else []))
    paths = [path for path in modules_of(extra) if path.relative_to(PROJECT).parts[0] in CLIENTS_PACKAGES]
    for name in imported(paths) - CLIENTS_PACKAGES - WITH_A_SERVER_ONLY:
        assert distributions_of(name) & declared, name


def test_both_distributions_ask_for_the_same_versions() -> None:
    assert {*map(str, asked_for(CLIENT["project"]))} <= {*map(str, asked_for(WHOLE["project"]))}


@pytest.mark.parametrize("folder", ["tests", "bench", "loadtest", "examples", "weights"])
def test_what_is_not_packed_imports_what_some_extra_asks_for(folder: str) -> None:
    paths = sorted((PROJECT / folder).rglob("*.py"))
    beside = {path.stem for path in paths} | {path.name for path in PROJECT.iterdir() if path.is_dir()}
    declared = {canonicalize_name(each.name) for each in asked_for(WHOLE["project"])}
    others = imported(paths) - OURS - BROUGHT_BY_TORCH - beside
    assert others
    assert {name for name in others if not distributions_of(name) & declared} == set()


WITHOUT = """
import importlib, json, sys
blocked, modules = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for name in blocked:
    sys.modules[name] = None
for name in modules:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in sys.argv[3:]:
            raise
"""


@pytest.mark.slow
def test_without_any_extra_every_other_module_can_be_imported() -> None:
    project = WHOLE["project"]
    named = set().union(*(names_of(extras_of(project)[extra]) for extra in MORE)) - names_of(project["dependencies"])
    blocked = [name for name, owners in installed().items() if named & set(map(canonicalize_name, owners))]
    assert {"grpc", "zmq", "starlette"} <= set(blocked)
    dotted = [".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in modules_of(None)]
    modules = [name.removesuffix(".__init__") for name in dotted if not name.endswith("__main__")]
    call = [sys.executable, "-c", WITHOUT, json.dumps(blocked), json.dumps(modules), *BROUGHT_BY_TORCH]
    done = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


WITHOUT_UVICORN = "import runpy, sys; sys.modules['uvicorn'] = None; runpy.run_module('web', run_name='__main__')"


@pytest.mark.slow
def test_the_page_without_its_extra_says_what_is_missing() -> None:
    call = [sys.executable, "-c", WITHOUT_UVICORN, "--help"]
    done = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "web: uvicorn is missing: pip install 'path/to/checkout[web]'\n"


def pins() -> dict[str, str]:
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    return {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}


def test_requirements_txt_pins_what_pyproject_toml_asks_for_and_nothing_else() -> None:
    asked, pinned = asked_for(WHOLE["project"], but=NOT_IN_THE_REQUIREMENTS), pins()
    assert {canonicalize_name(each.name) for each in asked} == set(pinned)
    for each in asked:
        assert each.specifier.contains(pinned[canonicalize_name(each.name)]), each


LOCK = (PROJECT / "requirements.lock").read_text()
ENTRIES = [line for line in LOCK.replace("\\\n", " ").splitlines() if not line.startswith("#")]
LOCKED = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", "\n".join(ENTRIES), re.MULTILINE))
STALE = "run `make lock`"


def test_the_lock_has_what_requirements_txt_pins_and_every_extra_asks_for() -> None:
    assert {name: LOCKED.get(name) for name in pins()} == pins(), STALE
    for each in asked_for(WHOLE["project"]):
        assert each.specifier.contains(LOCKED.get(canonicalize_name(each.name), "0")), f"{each}: {STALE}"


def test_the_lock_has_all_that_those_need_in_turn() -> None:
    """As far as what is installed here has the very versions that are locked."""
    open_, seen = [*asked_for(WHOLE["project"], but=NOT_IN_THE_REQUIREMENTS)], set[str]()
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        assert name in LOCKED, f"{name}: {STALE}"
        with suppress(PackageNotFoundError):
            needed = [*map(Requirement, requires(name) or ())] if version(name) == LOCKED[name] else []
            for extra in ("", *requirement.extras):
                open_ += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    assert len(seen) > len(pins())


def test_the_lock_names_hashes_and_no_place() -> None:
    assert "://" not in LOCK and "--index" not in LOCK and "--find-links" not in LOCK
    for entry in ENTRIES:
        what, *hashes = re.split(r"\s+--hash=", entry.strip())
        assert re.match(r"[\w.-]+==", what) and hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), what
