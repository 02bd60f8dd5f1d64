"""What the archives of a model store require of a host: each model's settings, workers and GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handoff import KINDS
from server.topology import FUSED, LIVE, Topology, packed_yaml
from serving.settings import Settings, SettingsError


@dataclass(frozen=True)
class PackedModel:
    """One model's archive."""

    name: str
    settings: Settings
    workers: int
    gpus: tuple[int, ...]
    """their numbers; empty: any"""
    nbytes: int
    """size of the archive, in bytes"""
    weights: int
    """bytes of the weights; those of the whole archive, where they are in it"""

    @property
    def shared_bytes(self) -> int:
        """Most bytes that its workers put into shared memory."""
        if self.name != "encoder" or "shared_memory" not in KINDS.get(self.settings.handoff.kind, ()):
            return 0
        return self.workers * self.settings.handoff.budget_bytes


def packed_models(model_store: Path, topology: Topology, gpus: int) -> list[PackedModel]:
    """The models in a topology's archives. `gpus`: how many the host has. Raises SettingsError."""
    names = [archive.removesuffix(".mar") for archive in topology.archives if archive.endswith(".mar")]
    if LIVE in topology.models:
        names.append(FUSED)  # once more, with workers of its own
    return [_model(model_store / f"{name}.mar", name, gpus) for name in names if name != "autostart"]


def _model(archive: Path, name: str, gpus: int) -> PackedModel:
    yaml = packed_yaml(archive)
    try:
        settings = Settings.read(yaml, Path("/archive"))
    except SettingsError as error:
        raise SettingsError(f"{archive}: {error}") from None
    nbytes = archive.stat().st_size
    outside = settings.checkpoint if not settings.checkpoint.is_relative_to("/archive") else None
    files = [outside, *outside.glob("*")] if outside else []
    weights = sum(each.stat().st_size for each in files if each.is_file()) if outside else nbytes
    workers = yaml.get("maxWorkers") or (max(1, gpus) if name == FUSED else 1)
    return PackedModel(name, settings, workers, tuple(yaml.get("deviceIds") or ()), nbytes, weights)
