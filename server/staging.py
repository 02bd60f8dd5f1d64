"""What archive.sh packs, laid out in a folder: the packages, and each yaml with this build's settings."""

import argparse
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from server.settings import PROJECT

PACKAGES = {
    "encoder": ("eden", "handoff", "media", "serving", "handlers", "server"),
    "dit_decoder": ("eden", "handoff", "media", "serving", "handlers", "server"),
    "autostart": ("server",),
}
NOT_PACKED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.yaml", "tests", ".*")


def stage_model(name: str, folder: Path, settings: Mapping[str, Any], workers: int | None, gpus: list[int]) -> None:
    """Write `folder/files/` (the packages) and `folder/model-config.yaml` for one model.

    settings: dotted keys under the yaml's `handler:` ("handoff.kind") and their values. gpus: none: the yaml's.
    """
    for package in PACKAGES[name]:
        shutil.copytree(PROJECT / package, folder / "files" / package, ignore=NOT_PACKED)
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


def parse_setting(text: str) -> tuple[str, str, Any]:
    """`[NODE:]DOTTED.KEY=VALUE` as (node or "", key, the value as yaml reads it). Raises ValueError."""
    name, equals, value = text.partition("=")
    node, colon, key = name.rpartition(":")
    if not equals or not key or (colon and node not in ("encoder", "dit_decoder")):
        raise ValueError(f"--set {text}: expected [encoder:|dit_decoder:]KEY=VALUE")
    return node, key, yaml.safe_load(value)


def packed_settings(archive: Path) -> dict[str, Any]:
    """The `handler:` section of the yaml in an archive; empty for what is none."""
    try:
        with zipfile.ZipFile(archive) as packed:
            config = yaml.safe_load(packed.read("model-config.yaml"))
        return dict(config["handler"])
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, yaml.YAMLError):
        return {}


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
    parser.add_argument("--encoder-workers", type=_positive)
    parser.add_argument("--decoder-workers", type=_positive)
    parser.add_argument("--decoder-gpus", type=_gpus, default=[])
    parser.add_argument("--set", dest="settings", type=_setting, action="append", default=[])
    args = parser.parse_args()

    named = {"checkpoint": args.checkpoint, "precision": args.precision, "handoff.kind": args.handoff}
    common = {key: value for key, value in named.items() if value is not None}
    workers = {"encoder": args.encoder_workers, "dit_decoder": args.decoder_workers}
    for node, count in workers.items():
        own = {key: value for at, key, value in args.settings if at in ("", node)}
        gpus = args.decoder_gpus if node == "dit_decoder" else []
        stage_model(node, args.folder / node, common | own, count, gpus)
    stage_model("autostart", args.folder / "autostart", {}, None, [])
    batching = {"batch-size": args.batch_size, "max-batch-delay": args.max_batch_delay}
    stage_workflow(
        args.folder / "workflow",
        {key: value for key, value in batching.items() if value is not None},
        {node: count for node, count in workers.items() if count},
    )


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
