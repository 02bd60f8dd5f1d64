"""Lays out in a folder what `server.pack` packs: the packages, and each yaml with this build's settings."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from server.settings import PROJECT, WORKFLOW
from server.topology import FUSED, SPLIT, Topology

PACKAGES = {
    "encoder": ("eden", "handoff", "media", "serving", "tracing", "handlers", "server"),
    "dit_decoder": ("eden", "handoff", "media", "serving", "tracing", "handlers", "server"),
    "eden_fused": ("eden", "handoff", "media", "serving", "tracing", "handlers", "server"),
    "autostart": ("server",),
}
MODELS = ("encoder", "dit_decoder", "eden_fused")
KEPT = {
    "server": (
        "__init__",
        "api",
        "folder",
        "health",
        "http",
        "pause",
        "running",
        "settings",
        "tokens",
        "topology",
        "watch",
    )
}
"""Modules of `server` that workers import; the others are for the host."""
NOT_PACKED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.yaml", "shipped", "tests", ".*")


@dataclass(frozen=True)
class Build:
    """What to pack, and with which settings; None or empty keeps those in handlers/*.yaml and workflow/eden.yaml."""

    topology: Topology = SPLIT
    checkpoint: str = "checkpoint"
    """path that the yamls name: inside the archive, or absolute"""
    precision: str | None = None
    handoff: str | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    """milliseconds"""
    workers: Mapping[str, int | None] = field(default_factory=dict)
    """by model"""
    gpus: Mapping[str, list[int]] = field(default_factory=dict)
    """by model"""
    settings: tuple[tuple[str, str, Any], ...] = ()
    """as `parse_setting` returns them"""


def stage(build: Build, folder: Path) -> None:
    """Write `folder/MODEL` for each model and `folder/workflow`, for all archives of the build's topology."""
    for model in MODELS:
        if f"{model}.mar" not in build.topology.archives:
            continue
        own = {key: value for at, key, value in build.settings if at in ("", model)}
        if model == FUSED:
            own = {key: value for key, value in own.items() if not key.startswith("handoff.")}
        elif build.handoff:
            own = {"handoff.kind": build.handoff} | own
        common = _given({"checkpoint": build.checkpoint, "precision": build.precision})
        stage_model(model, folder / model, common | own, build.workers.get(model), build.gpus.get(model, []))
    if f"{FUSED}.mar" in build.topology.archives:
        _batch(folder / FUSED / "model-config.yaml", build)
    watching = {key: value for at, key, value in build.settings if at == "autostart"}
    stage_autostart(folder / "autostart", build.topology, watching)
    if build.topology.has_workflow:
        batching = _given({"batch-size": build.batch_size, "max-batch-delay": build.max_batch_delay})
        nodes = {node: count for node, count in build.workers.items() if count and node != FUSED}
        stage_workflow(folder / "workflow", batching, nodes)


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _batch(config: Path, build: Build) -> None:
    """Give a model outside the workflow the workflow's batch size and delay."""
    changed = yaml.safe_load(config.read_text(encoding="utf-8"))
    changed |= _given({"batchSize": build.batch_size, "maxBatchDelay": build.max_batch_delay})
    config.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")


def stage_model(name: str, folder: Path, settings: Mapping[str, Any], workers: int | None, gpus: list[int]) -> None:
    """Write `folder/files/` (the packages) and `folder/model-config.yaml` for one model.

    settings: dotted keys under the yaml's `handler:` ("handoff.kind") and their values. gpus: empty keeps the yaml's.
    """
    for package in PACKAGES[name]:
        shutil.copytree(PROJECT / package, folder / "files" / package, ignore=NOT_PACKED)
        for module in (folder / "files" / package).glob("*.py") if package in KEPT else ():
            if module.stem not in KEPT[package]:
                module.unlink()
    config = yaml.safe_load((PROJECT / "handlers" / f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in settings.items():
        _set(config.setdefault("handler", {}), key, value)
    if workers:
        config["minWorkers"] = config["maxWorkers"] = workers
    if gpus:
        config["deviceIds"] = gpus
    (folder / "model-config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def stage_workflow(folder: Path, common: Mapping[str, Any], workers: Mapping[str, int]) -> None:
    """Write `folder/eden.yaml`: the workflow with this build's batching (`common`) and workers per node."""
    spec = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    spec["models"] |= common
    for node, count in workers.items():
        spec["models"][node] |= {"min-workers": count, "max-workers": count}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "eden.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    # The archiver fails without a handler; a workflow of nothing but models never calls it.
    (folder / "no_functions.py").write_text('"""This workflow has no functions of its own."""\n', encoding="utf-8")


def stage_autostart(folder: Path, topology: Topology, settings: Mapping[str, Any] | None = None) -> None:
    """Write what `stage_model` writes, for autostart, the model that registers this topology's archives."""
    stage_model("autostart", folder, {"register": list(topology.registers)} | dict(settings or {}), None, [])


def parse_setting(text: str) -> tuple[str, str, Any]:
    """Parse `[MODEL:]DOTTED.KEY=VALUE` into (model or "", key, the value as yaml reads it). Raises ValueError."""
    name, equals, value = text.partition("=")
    node, colon, key = name.rpartition(":")
    if not equals or not key or (colon and node not in PACKAGES):
        raise ValueError(f"--set {text}: expected [encoder:|dit_decoder:|eden_fused:|autostart:]KEY=VALUE")
    return node, key, yaml.safe_load(value)


def _set(section: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
