"""The `handler:` section of a model's yaml: typed, bounded, and complete before the worker starts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from eden import MIN_SIDE
from handoff import NETWORK, HandoffError, HandoffSettings
from handoff.settings import is_loopback
from media.machine import cores
from serving.regions import RegionFolder

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Side = Annotated[int, Meta(ge=MIN_SIDE, le=65536)]


MAX_WAIT_S = 5.0
LARGEST_PAYLOAD = 2 << 30
"""Most bytes of one clip's tokens, unless max_payload_bytes or a smaller budget limits them: two frames of 8192x4352 in
fp32 take 1.7 GB."""


class SettingsError(ValueError):
    """A setting is unknown, wrong, or contradicts another one; the message names it."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of a request. None: as much as the hand-off can carry (see serving.limits)."""

    max_pixels: Count | None = None
    """pixels of one frame"""
    max_frames: Annotated[int, Meta(ge=2)] = 512
    """frames of one request"""
    max_clip_pixels: Count | None = None
    """pixels of all frames of a clip together"""
    max_decode_bytes: Count = 4 << 30
    """bytes of memory that reading the requests of a batch may take"""


class Tracing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Export of spans to an OpenTelemetry collector (see serving.span_export)."""

    endpoint: str | None = None
    """the collector's address, such as http://host:4318; None: the environment's OTEL_EXPORTER_OTLP_ENDPOINT, if set"""
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """share of the requests without a trace of their own that is exported: exporting all would cost a busy worker some
    percent of its throughput (docs/operations.md)"""
    queue: Count = 4096
    """spans that may wait for the collector; more are dropped, and counted"""


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an operator may set for one node."""

    checkpoint: Path = Path("checkpoint")
    """a folder, a .safetensors or a .pt; a relative path lies inside the archive"""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    handoff: HandoffSettings = msgspec.field(default_factory=HandoffSettings)
    limits: Limits = Limits()
    tracing: Tracing = Tracing()
    logs: Literal["text", "json"] = "text"
    """format of a worker's own log lines"""
    jpeg: Literal["auto", "gpu", "cpu"] = "auto"
    """auto: the GPU encodes the JPEG of a lone pair, if torchvision can; gpu: it decodes and encodes all JPEGs, which
    is safe only if callers may see each other's frames (see serving.jpeg); cpu: it does neither"""
    threads: Count | None = None
    """CPU threads per worker; None: see `sensible_threads`"""
    workers: Count = 1
    """workers of this node"""
    max_queued: Count = 256
    """requests that may wait in TorchServe for the encoder"""
    max_wait_s: Seconds = MAX_WAIT_S
    """the longest that a clip may have to wait for the decoder, in seconds, if a batch of clips waits already"""
    grpc_streaming: bool = False
    """whether a gRPC caller who asks for a stream gets more than one message"""
    regions: bool | str = True
    """whether callers on this host may send frames in shared memory (see serving.regions); or the folder for that, if
    it is not handoff.shared_folder"""
    warm: tuple[tuple[Side, Side], ...] = ()
    """(height, width) of frames to warm up for before the first request"""

    @classmethod
    def read(cls, yaml: Mapping[str, Any], model_dir: Path) -> Settings:
        """Settings from a model's parsed yaml. Raises SettingsError."""
        section = dict(yaml.get("handler") or {})
        if "workers" in section:
            raise SettingsError("handler settings: unknown workers: the yaml's maxWorkers says how many")
        section["workers"] = yaml.get("maxWorkers") or 1
        handoff = section.get("handoff") or {}
        if not isinstance(handoff, dict):
            raise SettingsError(f"handler settings: handoff is {handoff!r}, not settings by name")
        if unknown := set(map(str, handoff)) - set(HandoffSettings.__dataclass_fields__):
            raise SettingsError(f"handler settings: handoff: unknown {', '.join(sorted(unknown))}")
        section["handoff"] = {
            "folder": str(server_folder()),
            "abandoned_after_s": section.get("max_wait_s", MAX_WAIT_S),
            "max_payload_bytes": _smaller(LARGEST_PAYLOAD, handoff.get("budget_bytes")),
            **handoff,
        }
        try:
            settings: Settings = msgspec.convert(section, cls, dec_hook=_path)
        except (msgspec.ValidationError, HandoffError) as error:
            raise SettingsError(f"handler settings: {_readable(error)}") from error
        if settings.handoff.max_payload_bytes > settings.handoff.budget_bytes:
            raise SettingsError(
                f"handler settings: handoff.max_payload_bytes is {settings.handoff.max_payload_bytes}, more than all "
                f"payloads together may take: {settings.handoff.budget_bytes} (handoff.budget_bytes)"
            )
        if isinstance(settings.regions, str) and not Path(settings.regions).is_absolute():
            raise SettingsError(f"handler settings: regions is {settings.regions!r}: true, false or an absolute path")
        return msgspec.structs.replace(settings, checkpoint=model_dir / settings.checkpoint)

    @property
    def region_folder(self) -> RegionFolder | None:
        """The folder of callers' regions; None: they are not accepted."""
        if isinstance(self.regions, str):
            return RegionFolder(Path(self.regions))
        return RegionFolder(self.handoff.shared_folder) if self.regions else None


def check_dialled(handoff: HandoffSettings, called_at: Mapping[str, str]) -> None:
    """Raise SettingsError if tickets would name this host's loopback although callers on other hosts get them.

    `called_at`: the hosts at which the server accepts calls, by the name of the setting.
    """
    if handoff.kind not in NETWORK or not handoff.names_loopback:
        return
    for name, host in called_at.items():
        if not is_loopback(host):
            raise SettingsError(
                f"handler settings: handoff.kind is {handoff.kind} and handoff.bind {handoff.bind}, so tickets name an "
                f"address that no other host can dial, but callers on other hosts get them ({name}: {host}): set "
                f"handoff.bind to this host's address, or handoff.advertise to what decoders dial ({handoff.bind} too, "
                "where all of them are on this host)"
            )


def sensible_threads(device: str, workers: int, nodes: int = 2) -> int:
    """CPU threads per worker: two beside a GPU; on a CPU a share of the cores, divided among the workers of all nodes.

    More threads than cores, each waiting busily for the others, would cost most of the throughput.
    """
    return 2 if device != "cpu" else max(1, cores() // (nodes * workers))


def server_folder() -> Path:
    """The folder that the server runs in, the same for all its workers: EDEN_SERVER_FOLDER, else TorchServe's cwd."""
    named = os.environ.get("EDEN_SERVER_FOLDER")
    return Path(named) if named else Path(f"/proc/{os.getppid()}/cwd").resolve()


def _smaller(default: int, budget: object) -> int:
    return min(default, budget) if isinstance(budget, int) and budget > 0 else default


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)


def _readable(error: Exception) -> str:
    """ "limits.max_pixels: expected int, got str", and the like."""
    text, _, place = str(error).partition(" - at `$.")
    text = text.replace("`", "").replace("Object contains unknown field", "unknown")
    return f"{place.rstrip('`')}: {text[0].lower()}{text[1:]}" if place else re.sub("^Object", "object", text)
