"""The `handler:` section of a model's yaml."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.clip import Limits
from handoff import HandoffSettings


@dataclass(frozen=True)
class Settings:
    """What an operator may set for one stage."""

    checkpoint: Path
    """a folder, a .safetensors or a .pt; a relative path lies inside the archive"""
    precision: str
    handoff: HandoffSettings
    limits: Limits
    threads: int | None
    """CPU threads a worker computes with; None: see `sensible_threads`"""
    workers: int
    """of this node"""
    max_queued: int
    """requests that may wait in TorchServe for the encoder"""
    max_wait_s: float
    """seconds that a clip may have to wait for the decoder, once a batch of them does"""
    grpc_streaming: bool
    """whether a gRPC caller who asks for a stream gets more than one message"""
    warm: tuple[tuple[int, int], ...] = field(default=())
    """(height, width) of frames to be ready for before the first request"""

    @classmethod
    def read(cls, yaml: Mapping[str, Any], model_dir: Path) -> Settings:
        """Settings from the model's parsed yaml.

        Raises ValueError naming the setting that is unknown or wrong.
        """
        section = dict(yaml.get("handler") or {})
        workers = int(yaml.get("maxWorkers") or 1)
        handoff = dict(section.pop("handoff", {}))
        try:
            max_wait_s = float(section.pop("max_wait_s", 5))
            if not max_wait_s > 0:
                raise ValueError(f"max_wait_s is {max_wait_s:g}; it has to be more than 0")
            own = {"folder": server_folder(), "abandoned_after_s": max_wait_s}
            settings = cls(
                checkpoint=model_dir / section.pop("checkpoint", "checkpoint"),
                precision=section.pop("precision", "fp32"),
                handoff=_filled(HandoffSettings, own | handoff, "handoff"),
                limits=_filled(Limits, section.pop("limits", {}), "limits"),
                threads=section.pop("threads", None),
                workers=workers,
                max_queued=int(section.pop("max_queued", 256)),
                max_wait_s=max_wait_s,
                grpc_streaming=_truth("grpc_streaming", section.pop("grpc_streaming", False)),
                warm=tuple((int(h), int(w)) for h, w in section.pop("warm", ())),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"handler settings: {error}") from error
        if section:
            raise ValueError(f"handler settings: unknown {', '.join(section)}")
        return settings


def sensible_threads(device: str, workers: int) -> int:
    """Where a GPU computes, two feed it. On a CPU both nodes' workers share the cores: more threads than cores, each
    waiting busily for the others, cost most of the throughput."""
    return 2 if device != "cpu" else max(1, (os.cpu_count() or 1) // (2 * workers))


def server_folder() -> Path:
    """The folder that the server runs in, the same for all its workers: EDEN_SERVER_FOLDER, else TorchServe's cwd."""
    named = os.environ.get("EDEN_SERVER_FOLDER")
    return Path(named) if named else Path(f"/proc/{os.getppid()}/cwd").resolve()


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, not true or false")
    return value


def _filled(kind: type, values: Mapping[str, Any], where: str) -> Any:
    types = {f.name: f.type for f in dataclasses.fields(kind)}
    unknown = set(values) - set(types)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}")
    return kind(**{name: Path(value) if types[name] == "Path" else value for name, value in values.items()})
