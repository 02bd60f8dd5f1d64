"""What goes into the archives, and the settings of a build."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from server.settings import PROJECT
from server.staging import PACKAGES, Build, parse_setting, stage, stage_model, stage_workflow
from server.topology import TOPOLOGIES, topology_of

pytestmark = pytest.mark.slow


def config_of(folder):
    return yaml.safe_load((folder / "model-config.yaml").read_text())


@pytest.mark.parametrize("node", PACKAGES)
def test_a_node_carries_its_packages_and_nothing_else(tmp_path, node):
    stage_model(node, tmp_path, {}, None, [])
    files = tmp_path / "files"
    assert {path.name for path in files.iterdir()} == set(PACKAGES[node])
    assert all((files / package / "__init__.py").exists() for package in PACKAGES[node])
    suffixes = {path.suffix for path in files.rglob("*") if path.is_file()}
    assert not suffixes & {".pyc", ".yaml"}
    assert not list(files.rglob("__pycache__"))


def test_settings_change_the_staged_yaml_and_nothing_else_in_it(tmp_path):
    stage_model("encoder", tmp_path / "plain", {}, None, [])
    changes = {"precision": "bf16", "handoff.kind": "inline", "handoff.a.b": 3, "limits.max_pixels": 9}
    stage_model("encoder", tmp_path / "changed", changes, 2, [1, 0])
    plain, changed = config_of(tmp_path / "plain"), config_of(tmp_path / "changed")
    assert (changed["minWorkers"], changed["maxWorkers"]) == (2, 2)
    assert changed["handler"]["handoff"] == plain["handler"]["handoff"] | {"kind": "inline", "a": {"b": 3}}
    assert changed["handler"]["limits"] == plain["handler"]["limits"] | {"max_pixels": 9}
    assert changed["handler"]["precision"] == "bf16"
    assert changed["deviceIds"] == [1, 0]
    named = {"handler", "minWorkers", "maxWorkers", "deviceIds"}
    assert {k: v for k, v in changed.items() if k not in named} == {k: v for k, v in plain.items() if k not in named}


def test_the_workflow_takes_batching_and_workers(tmp_path):
    stage_workflow(tmp_path, {"batch-size": 3, "max-batch-delay": 7}, {"dit_decoder": 2})
    spec = yaml.safe_load((tmp_path / "eden.yaml").read_text())
    models = spec["models"]
    assert (models["batch-size"], models["max-batch-delay"]) == (3, 7)
    assert models["dit_decoder"] == {"url": "dit_decoder.mar", "min-workers": 2, "max-workers": 2}
    assert models["encoder"] == {"url": "encoder.mar"}
    assert spec["dag"] == {"encoder": ["dit_decoder"]}


def test_a_lone_pair_waits_at_most_ten_ms_in_the_workflow_as_it_ships(tmp_path):
    stage_workflow(tmp_path, {}, {})
    models = yaml.safe_load((tmp_path / "eden.yaml").read_text())["models"]
    delays = [models[node].get("max-batch-delay", models["max-batch-delay"]) for node in ("encoder", "dit_decoder")]
    assert sum(delays) <= 10
    assert models["batch-size"] > 1


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("handoff.wire=bf16", ("", "handoff.wire", "bf16")),
        ("encoder:limits.max_pixels=1000", ("encoder", "limits.max_pixels", 1000)),
        ("dit_decoder:warm=[[256, 448]]", ("dit_decoder", "warm", [[256, 448]])),
        ("handoff.address=tcp://h:1", ("", "handoff.address", "tcp://h:1")),
    ],
)
def test_a_setting_on_the_command_line(text, parsed):
    assert parse_setting(text) == parsed


@pytest.mark.parametrize("text", ["precision", "=3", "decoder:precision=bf16", "encoder:=3"])
def test_a_setting_that_is_none(text):
    with pytest.raises(ValueError, match="expected"):
        parse_setting(text)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """By model: what went wrong as its archive's files were imported.

    In a process of its own, which sees what is installed and the archive's files, and nothing of this project.
    """
    folder = tmp_path_factory.mktemp("archives")
    for model in PACKAGES:
        stage_model(model, folder / model, {}, None, [])
        shutil.copy(PROJECT / "handlers" / f"{model}.py", folder / model / "files" / "its_handler.py")
    (folder / "import_all.py").write_text(IMPORT_ALL)
    done = subprocess.run(
        [sys.executable, "-P", "import_all.py", json.dumps(PACKAGES)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", PACKAGES)
def test_a_handler_finds_all_that_it_imports_in_its_archive(imported, model):
    assert imported[model] is None


IMPORT_ALL = """
import importlib
import json
import os
import pkgutil
import sys
import traceback

import torch  # once, which takes longest: each archive has a fork of this process

# An editable install would give what an archive lacks.
sys.meta_path[:] = [each for each in sys.meta_path if not getattr(each, "__module__", "").startswith("__editable__")]


def import_all(model, packages):
    sys.path.insert(0, os.path.abspath(f"{model}/files"))
    importlib.import_module("its_handler")
    for package in packages:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            try:
                importlib.import_module(f"{package}.{module.name}")
            except ModuleNotFoundError as error:  # Triton, where there is no GPU; or what this node has no need of
                if error.name.partition(".")[0] in packages:
                    raise


told = {}
for model, packages in json.loads(sys.argv[1]).items():
    reader, writer = os.pipe()
    if os.fork() == 0:
        error = None
        try:
            import_all(model, packages)
        except BaseException:
            error = traceback.format_exc()
        os.write(writer, json.dumps(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        told[model] = json.load(answer)
    os.wait()
print(json.dumps(told))
"""


@pytest.mark.parametrize("name", ["fused", "both"])
def test_live_calls_get_the_fused_model_once_more_with_workers_of_its_own(tmp_path, name):
    plain = TOPOLOGIES[name]
    stage(Build(plain.with_live()), tmp_path)
    registered = config_of(tmp_path / "autostart")["handler"]["register"]
    assert registered == [*plain.registers, "eden_fused.mar as eden_live"]
    found = topology_of(registered)
    assert found.models == (*plain.models, "eden_live") and found.paths == plain.paths


def test_without_the_fused_model_there_is_none_for_live_calls():
    with pytest.raises(ValueError, match="eden_live needs eden_fused: --topology fused or both"):
        TOPOLOGIES["split"].with_live()
