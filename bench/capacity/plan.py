"""The plan of `make capacity`: settings of a server, and the workloads that are sent to it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from server.settings import PROJECT

OF_TOPOLOGY = {"split": ("encoders", "decoders", "decoder_gpus", "handoff"), "fused": ("fused_workers",)}
"""Settings that only one topology has."""
NODES = {"encoder": "eden__encoder", "decoder": "eden__dit_decoder"}


@dataclass(frozen=True)
class Setting:
    """One configuration of the server."""

    topology: str = "split"
    """or "fused": both halves in one process"""
    batch: int = 8
    delay: int = 3
    """milliseconds"""
    encoders: int = 1
    decoders: int = 1
    """worker processes"""
    decoder_gpus: str = ""
    """GPUs of the decoders in turn, such as "1/0"; "": the second only"""
    handoff: str = "shared_memory"
    fused_workers: int = 1
    """processes of eden_fused"""
    more: tuple[str, ...] = ()
    """other settings, as archive.sh --set takes them"""

    @classmethod
    def parse(cls, text: str) -> Setting:
        """From "batch=8,delay=3,encoders=1,decoders=2,handoff=auto,threads=1,encoder:handoff.max_in_flight=16",
        or "topology=fused,fused_workers=2,batch=8,delay=3".

        Raises ValueError naming what it does not know, or what another topology has.
        """
        values: dict[str, Any] = {}
        more = []
        own = {field.name: field.type for field in fields(cls) if field.name != "more"}
        for part in filter(None, text.split(",")):
            key, equals, value = part.partition("=")
            if not equals or (key not in own and key != "threads" and "." not in key):
                raise ValueError(
                    f"setting {part!r}: known are {', '.join(own)}, or a dotted setting of archive.sh --set"
                )
            if key in own:
                values[key] = value if own[key] == "str" else int(value)
            else:
                more.append(part)
        topology = values.get("topology", "split")
        if topology not in OF_TOPOLOGY:
            raise ValueError(f"topology {topology!r}: known are {', '.join(OF_TOPOLOGY)}")
        for other, keys in OF_TOPOLOGY.items():
            if other != topology and (foreign := [key for key in keys if key in values]):
                raise ValueError(f"setting {text!r}: {', '.join(foreign)} is of topology={other}")
        return cls(**values, more=tuple(more))

    def __str__(self) -> str:
        more = "".join(f", {each}" for each in self.more)
        if self.topology == "fused":
            return f"fused, batch {self.batch}, {self.delay} ms, {self.fused_workers} workers{more}"
        if self.decoder_gpus:
            more = f", decoders on GPUs {self.decoder_gpus}{more}"
        return f"batch {self.batch}, {self.delay} ms, {self.encoders}+{self.decoders} workers, {self.handoff}{more}"

    def archive_options(self) -> list[str]:
        """Options for archive.sh."""
        options = ["--batch-size", self.batch, "--max-batch-delay", self.delay]
        if self.topology == "fused":
            options += ["--topology", "fused", "--fused-workers", self.fused_workers]
        else:
            options += ["--handoff", self.handoff]
            options += ["--encoder-workers", self.encoders, "--decoder-workers", self.decoders]
        if self.decoder_gpus:
            options += ["--decoder-gpus", self.decoder_gpus.replace("/", ",")]
        return [str(option) for option in options] + [part for each in self.more for part in ("--set", each)]

    @property
    def route(self) -> str:
        """The route by which work is sent, as in Locust's --route."""
        return "fused" if self.topology == "fused" else "workflow"

    @property
    def nodes(self) -> Mapping[str, str]:
        """The models that do the work, by their role in the report."""
        return {"fused": "eden_fused"} if self.topology == "fused" else NODES


@dataclass(frozen=True)
class Workload:
    """Clips of one length, size and format, sent by a number of users that grows step by step."""

    height: int
    width: int
    clip: int
    """K, frames per clip; 2: the pairs of streams"""
    format: str
    """of the frames sent and of the answer"""
    users: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Workload:
        """From "480x854,K=2,png,users=1/4/16". Raises ValueError."""
        try:
            size, clip, format, users = text.split(",")
            height, width = (int(side) for side in size.split("x"))
            return cls(
                height,
                width,
                int(clip.removeprefix("K=")),
                format,
                tuple(int(count) for count in users.removeprefix("users=").split("/")),
            )
        except ValueError:
            raise ValueError(f"workload {text!r}: expected e.g. 480x854,K=2,png,users=1/4/16") from None

    def __str__(self) -> str:
        return f"{self.height}x{self.width}, K = {self.clip}, {self.format.upper()}"

    @property
    def strategy(self) -> str:
        """`streaming`, pair by pair, or `batch`, clip by clip."""
        return "streaming" if self.clip == 2 else "batch"

    def locust_options(self) -> list[str]:
        """Locust's options for it. Each user sends as soon as it is answered."""
        options = ["--frame-size", f"{self.height}x{self.width}", "--send", self.format, "--answer", self.format]
        if self.strategy == "streaming":
            return [*options, "--tags", "streaming", "--rate", "0"]
        return [*options, "--tags", "batch", "--clip", str(self.clip)]


@dataclass(frozen=True)
class Plan:
    """A run: the first setting is measured with all workloads, the others with the first `compare` of them."""

    out: Path
    checkpoint: Path
    precision: str
    settings: tuple[Setting, ...]
    workloads: tuple[Workload, ...]
    compare: int
    phase_seconds: float
    settle_seconds: float
    engine_seconds: float
    processes: int
    """processes that make the load"""
    latency_target: float
    """seconds that 19 of 20 pairs may take"""
    camera_rate: float
    """pairs per second per camera"""
    overload_seconds: float
    """seconds of overload; 0: none"""
    limit_seconds: float
    """seconds after which nothing more is begun"""
    warm: bool
    """whether workers prepare for all sizes before they serve"""
    command: tuple[str, ...]

    def workloads_of(self, setting: Setting) -> tuple[Workload, ...]:
        """The workloads for a setting; settings other than the first are measured at the saturating load only."""
        if setting == self.settings[0]:
            return self.workloads
        return tuple(
            Workload(w.height, w.width, w.clip, w.format, w.users[-1:]) for w in self.workloads[: self.compare]
        )

    def archive_options(self, setting: Setting) -> list[str]:
        """Options for archive.sh."""
        options = ["--checkpoint", str(self.checkpoint), "--in-place", "--precision", self.precision]
        if self.warm:
            sizes = sorted({(w.height, w.width) for w in self.workloads})
            options += ["--set", f"warm={[list(size) for size in sizes]}"]
        return options + setting.archive_options()

    def as_json(self) -> Mapping[str, Any]:
        """The plan, as the report states it."""
        said = asdict(self) | {"out": _in_project(self.out), "checkpoint": _in_project(self.checkpoint)}
        return said | {"command": shlex.join(self.command)}


def _in_project(path: Path) -> str:
    """A path relative to the project's folder, if it lies there: results name no folders of the machine."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)
