"""The client as a distribution of its own: what is in it is all that it needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
CLIENT = tomllib.loads((PROJECT / "packaging/eden-client/pyproject.toml").read_text())["project"]
SERVER = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
GRPC = CLIENT["optional-dependencies"]["grpc"]
PACKAGES = "eden_client", "media", "tracing"

ALONE = """
import importlib, importlib.abc, json, pkgutil, sys
from importlib.metadata import Distribution
from pathlib import Path

folder, allowed, skipped = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])

class OnlyThese(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in (*allowed, *sys.stdlib_module_names):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyThese())
sys.path.insert(0, folder)
imported = []
for package in ("eden_client", "media", "tracing"):
    for found in pkgutil.walk_packages([f"{folder}/{package}"], f"{package}."):
        if not found.name.endswith("__main__") and found.name not in skipped:
            imported.append(importlib.import_module(found.name))
assert all(Path(module.__file__).is_relative_to(folder) for module in imported)
assert not {"torch", "ts", "serving", "handlers", "server", "handoff", "eden"} & set(sys.modules)
print(len(imported), flush=True)
(command,) = Distribution.at(next(Path(folder).glob("*.dist-info"))).entry_points
assert command.name == "eden-interpolate"
sys.argv[:] = json.loads(sys.argv[4])
sys.exit(command.load()())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content and nothing else. It is built from what it says it is made of alone."""
    place = tmp_path_factory.mktemp("distribution")
    for name in (*PACKAGES, "packaging"):
        shutil.copytree(
            PROJECT / name,
            place / "source" / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"),
        )
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(PROJECT / name, place / "source")
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", place)
    command = (sys.executable, "-m", "pip", "wheel", *options, place / "source/packaging/eden-client")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "installed")
    return place / "installed"


def run_alone(
    folder: Path, needed: Iterable[str], *command: str, skipped: Iterable[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Import all modules but those skipped, with `needed` and what that needs, then run the command."""
    allowed = [*PACKAGES, *modules_of(closure(needed))]
    told = [str(folder), json.dumps(allowed), json.dumps(list(skipped)), json.dumps(command)]
    return subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *told], capture_output=True, text=True, timeout=120, cwd=folder
    )


def closure(requirements: Iterable[str]) -> set[str]:
    """The distributions that these requirements stand for, with all that those require."""
    found, open_ = set[str](), [Requirement(each) for each in requirements]
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            open_ += [Requirement(each) for each in requires(name) or ()]
    return found


def modules_of(distributions: set[str]) -> list[str]:
    return [
        module
        for module, owners in packages_distributions().items()
        if distributions & {canonicalize_name(owner) for owner in owners}
    ]


def sources() -> set[str]:
    return {
        path.relative_to(PROJECT).as_posix()
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }


def test_it_holds_the_client_and_what_it_uses_and_nothing_else(installed):
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    told = f"eden_client-{CLIENT['version']}.dist-info/"
    assert {file for file in files if not file.startswith(told)} == sources()
    assert {f"{told}licenses/LICENSE", f"{told}licenses/NOTICE"} <= files


def test_it_runs_with_nothing_but_what_it_says_it_needs(installed):
    done = run_alone(installed, [*CLIENT["dependencies"], *GRPC], "eden-interpolate", "--help")
    assert done.returncode == 0, done.stderr
    count, _, help_ = done.stdout.partition("\n")
    assert help_.startswith("usage: eden-interpolate INPUT OUTPUT")
    modules = {file for file in sources() if file.endswith(".py") and not file.endswith("__main__.py")}
    assert int(count) == len(modules) - len(PACKAGES)  # the two packages themselves come with their first module


def test_without_grpc_everything_else_runs_and_an_error_says_what_is_missing(installed, tmp_path):
    command = ("eden-interpolate", str(tmp_path), str(tmp_path / "out.mp4"), "--grpc")
    done = run_alone(installed, CLIENT["dependencies"], *command, skipped=["eden_client.api.grpc_route"])
    assert done.returncode == 1
    needs = (
        "the route grpc needs grpc: pip install 'path/to/checkout/packaging/eden-client[grpc]', or beside the server"
    )
    assert done.stderr == f"eden-interpolate: {needs} 'path/to/checkout[client]'\n"


def test_what_it_needs_includes_what_is_tested_here():
    pins = dict(line.split("==") for line in (PROJECT / "requirements.txt").read_text().splitlines() if "==" in line)
    transitive = {"certifi", "urllib3"}  # requests brings them along
    for requirement in map(Requirement, [*CLIENT["dependencies"], *GRPC]):
        if requirement.name not in transitive:
            assert requirement.specifier.contains(pins[requirement.name]), requirement
    # The nodes and the command have one version of Ray, however they got it.
    assert CLIENT["optional-dependencies"]["cluster"][0] == SERVER["optional-dependencies"]["cluster"][0]
    for key in ("version", "license", "requires-python"):
        assert CLIENT[key] == SERVER[key]
    assert CLIENT["scripts"].items() <= SERVER["scripts"].items()
