"""Topologies: what a model store holds and a server offers (split workflow, fused model, or both)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

WORKFLOW, FUSED = "eden", "eden_fused"
LIVE = "eden_live"
"""The fused model registered a second time, with a queue and workers of its own for live calls."""
AS = " as "
"""Separates an archive from the name under which autostart registers it, if that differs."""
NODES = ("eden__encoder", "eden__dit_decoder")


@dataclass(frozen=True)
class Topology:
    """The archives of a model store, and the models that they are registered as."""

    archives: tuple[str, ...]
    """files that must be in the model store"""
    registers: tuple[str, ...]
    """what autostart registers, in this order"""
    models: tuple[str, ...]
    """models whose workers must be up"""
    paths: tuple[str, ...]
    """URL paths that answer a clip with the frames between; the first one is shown to users"""

    @property
    def has_workflow(self) -> bool:
        return any(archive.endswith(".war") for archive in self.registers)

    def with_live(self) -> Topology:
        """This topology with eden_live. Raises ValueError if it has no fused model."""
        if FUSED not in self.models:
            raise ValueError(f"{LIVE} needs {FUSED}: --topology fused or both")
        return replace(self, registers=(*self.registers, f"{FUSED}.mar{AS}{LIVE}"), models=(*self.models, LIVE))


SPLIT = Topology(
    ("encoder.mar", "dit_decoder.mar", "autostart.mar", "eden.war"), ("eden.war",), NODES, (f"/wfpredict/{WORKFLOW}",)
)
ALONE = Topology(("eden_fused.mar", "autostart.mar"), ("eden_fused.mar",), (FUSED,), (f"/predictions/{FUSED}",))
BOTH = Topology(
    (*SPLIT.archives, "eden_fused.mar"),
    (*SPLIT.registers, *ALONE.registers),
    (*NODES, FUSED),
    SPLIT.paths + ALONE.paths,
)
TOPOLOGIES = {"split": SPLIT, "fused": ALONE, "both": BOTH}


def packed_topology(model_store: Path) -> Topology:
    """The topology packed in a model store; split if nothing there says otherwise."""
    return topology_of(packed_settings(model_store / "autostart.mar").get("register", ()))


def topology_of(registers: Sequence[str]) -> Topology:
    """The topology whose archives these are, as autostart registers them; split if they fit none."""
    known = [*TOPOLOGIES.values(), *(each.with_live() for each in TOPOLOGIES.values() if FUSED in each.models)]
    return next((each for each in known if each.registers == tuple(registers)), SPLIT)


def packed_settings(archive: Path) -> dict[str, Any]:
    """The `handler:` section of the yaml in an archive; empty if the file is not an archive."""
    section = packed_yaml(archive).get("handler")
    return dict(section) if isinstance(section, dict) else {}


def packed_yaml(archive: Path) -> dict[str, Any]:
    """The yaml in an archive; empty if the file is not an archive."""
    try:
        with zipfile.ZipFile(archive) as packed:
            return dict(yaml.safe_load(packed.read("model-config.yaml")))
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, yaml.YAMLError):
        return {}
