"""What archive.sh packs, laid out in a folder: the packages, and each yaml with this build's settings."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from server.settings import PROJECT
from server.topology import FUSED, TOPOLOGIES, Topology

PACKAGES = {
    "encoder": ("eden", "handoff", "media", "serving", "tracing", "handlers", "server"),
    "dit_decoder": ("eden", "handoff", "media", "serving", "tracing", "handlers", "server"),
    "eden_fused": ("eden", "handoff", "media", "serving", "tracing", "handlers", "server"),
    "autostart": ("server",),
}
MODELS = ("encoder", "dit_decoder", "eden_fused")
KEPT = {"server": ("__init__", "api", "folder", "health", "http", "running", "settings", "tokens", "topology", "watch")}
"""Modules that workers import: the rest of `server` is for the host."""
NOT_PACKED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.yaml", "tests", ".*")


def stage_model(name: str, folder: Path, settings: Mapping[str, Any], workers: int | None, gpus: list[int]) -> None:
    """Write `folder/files/` (the packages) and `folder/model-config.yaml` for one model.

    settings: dotted keys under the yaml's `handler:` ("handoff.kind") and their values. gpus: none: the yaml's.
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
    """Write `folder/eden.yaml`: the workflow with batching and workers changed where this build says so."""
    spec = yaml.safe_load((PROJECT / "workflow" / "eden.yaml").read_text(encoding="utf-8"))
    spec["models"] |= common
    for node, count in workers.items():
        spec["models"][node] |= {"min-workers": count, "max-workers": count}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "eden.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    # The archiver fails without a handler; a workflow of nothing but models never calls it.
    (folder / "no_functions.py").write_text('"""This workflow has no functions of its own."""\n', encoding="utf-8")


def stage_autostart(folder: Path, topology: Topology, settings: Mapping[str, Any] | None = None) -> None:
    """Write what `stage_model` writes, for the model that registers this topology's archives."""
    stage_model("autostart", folder, {"register": list(topology.registers)} | dict(settings or {}), None, [])


def parse_setting(text: str) -> tuple[str, str, Any]:
    """`[NODE:]DOTTED.KEY=VALUE` as (node or "", key, the value as yaml reads it). Raises ValueError."""
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m server.staging", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", default="checkpoint", help="what the yamls name")
    parser.add_argument("--precision")
    parser.add_argument("--handoff")
    parser.add_argument("--batch-size", type=_positive)
    parser.add_argument("--max-batch-delay", type=_milliseconds)
    parser.add_argument("--topology", choices=TOPOLOGIES, default="split")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--fused-workers", type=_positive)
    parser.add_argument("--encoder-workers", type=_positive)
    parser.add_argument("--decoder-workers", type=_positive)
    parser.add_argument("--decoder-gpus", type=_gpus, default=[])
    parser.add_argument("--set", dest="settings", type=_setting, action="append", default=[])
    args = parser.parse_args()

    topology = TOPOLOGIES[args.topology]
    if args.live:
        try:
            topology = topology.with_live()
        except ValueError as error:
            parser.error(str(error))
    for option in _senseless(args, topology):
        parser.error(f"{option}: nothing that it is for is packed by --topology {args.topology}")
    named = {"checkpoint": args.checkpoint, "precision": args.precision}
    common = {key: value for key, value in named.items() if value is not None}
    batching = {
        key: value
        for key, value in (("batch-size", args.batch_size), ("max-batch-delay", args.max_batch_delay))
        if value is not None
    }
    workers = {"encoder": args.encoder_workers, "dit_decoder": args.decoder_workers, "eden_fused": args.fused_workers}
    gpus = {"dit_decoder": args.decoder_gpus}
    for model in MODELS:
        if f"{model}.mar" not in topology.archives:
            continue
        own = {key: value for at, key, value in args.settings if at in ("", model)}
        if model == "eden_fused":
            own = {key: value for key, value in own.items() if not key.startswith("handoff.")}
        elif args.handoff:
            own = {"handoff.kind": args.handoff} | own
        stage_model(model, args.folder / model, common | own, workers[model], gpus.get(model, []))
    if f"{FUSED}.mar" in topology.archives:
        _batch(args.folder / FUSED / "model-config.yaml", batching)
    watching = {key: value for at, key, value in args.settings if at == "autostart"}
    stage_autostart(args.folder / "autostart", topology, watching)
    if topology.has_workflow:
        nodes = {node: count for node, count in workers.items() if count and node != FUSED}
        stage_workflow(args.folder / "workflow", batching, nodes)
    print("\n".join(topology.archives))


def _senseless(args: argparse.Namespace, topology: Topology) -> list[str]:
    """Options for models that are not packed."""
    packed = {archive.removesuffix(".mar") for archive in topology.archives}
    named = {
        "--handoff": (args.handoff, "encoder"),
        "--encoder-workers": (args.encoder_workers, "encoder"),
        "--decoder-workers": (args.decoder_workers, "dit_decoder"),
        "--decoder-gpus": (args.decoder_gpus, "dit_decoder"),
        "--fused-workers": (args.fused_workers, FUSED),
    }
    unused = [option for option, (value, model) in named.items() if value and model not in packed]
    return unused + [f"--set {model}:{key}" for model, key, _ in args.settings if model and model not in packed]


def _batch(config: Path, batching: Mapping[str, int]) -> None:
    """Have a model of its own batch as a workflow's nodes do."""
    names = {"batch-size": "batchSize", "max-batch-delay": "maxBatchDelay"}
    changed = yaml.safe_load(config.read_text(encoding="utf-8"))
    changed |= {names[key]: value for key, value in batching.items()}
    config.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")


def _setting(text: str) -> tuple[str, str, Any]:
    try:
        return parse_setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _gpus(text: str) -> list[int]:
    return [_whole(part, least=0) for part in text.split(",")]


def _positive(text: str) -> int:
    return _whole(text, least=1)


def _milliseconds(text: str) -> int:
    return _whole(text, least=0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


if __name__ == "__main__":
    main()
