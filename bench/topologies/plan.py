"""The plan of `bench.topologies`: kinds of work, topologies, and the settings with which each of these is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.capacity.plan import Setting

SPLIT, BOTH, FUSED = "split", "split, decoders on both GPUs", "fused"
TOPOLOGIES = {"split": SPLIT, "both": BOTH, "fused": FUSED}
"""The topologies by their names on the command line."""
FORMATS = ("jpeg", "npy")
"""Formats of clips, sent and answered."""
TRANSPORTS = ("npy", "region")
"""How raw frames travel to a server and back."""


@dataclass(frozen=True)
class Work:
    """Clips of one size and length, sent and answered in one format."""

    size: tuple[int, int]
    """(H, W) of a frame"""
    clip: int
    """K, frames of a clip"""
    format: str
    """one of FORMATS"""
    batch: int
    """clips that the model computes together, without a server"""
    users: int
    """requests in flight, with a server"""
    by_region: bool = False
    """whether a served clip's frames go and come in shared memory, not in the bodies of `format`"""

    @property
    def name(self) -> str:
        """Its name in the results: 480x854, K = 24, JPEG."""
        way = "shared memory" if self.by_region else {"jpeg": "JPEG", "npy": ".npy"}[self.format]
        return f"{self.size[0]}x{self.size[1]}, K = {self.clip}, {way}"

    @property
    def file(self) -> str:
        """A file name for it."""
        return f"{self.size[0]}x{self.size[1]}-{self.clip}-{self.format}"

    @property
    def pairs(self) -> int:
        """New frames of one clip."""
        return self.clip - 1


@dataclass(frozen=True)
class Serving:
    """One server: a topology, its setting, and who codes JPEG in it."""

    topology: str
    setting: Setting
    jpeg: str | None = None
    """value for archive.sh --set jpeg=...; None: the default"""
    first: bool = True
    """whether this is the most promising setting of its topology"""

    @property
    def name(self) -> str:
        """Its name in the results."""
        setting = str(self.setting)
        return setting if setting.startswith("fused") else f"{self.setting.topology}, {setting}"

    def archive_options(self) -> list[str]:
        """Options for archive.sh."""
        return self.setting.archive_options() + (["--set", f"jpeg={self.jpeg}"] if self.jpeg else [])


@dataclass(frozen=True)
class Plan:
    """How long, how often and with what everything is measured. Times are in seconds."""

    works: tuple[Work, ...]
    settings: dict[str, tuple[Setting, ...]]
    """by topology, the most promising first"""
    lone: Work
    """what a lone caller sends"""
    lone_calls: int
    model_seconds: float
    warm_seconds: float
    window_seconds: float
    processes: int
    """processes that make the load"""
    warm_sizes: tuple[tuple[int, int], ...]
    """(H, W) for which workers prepare before they serve"""
    start_seconds: float
    """how long a server is expected to start: none is started when less time is left"""

    def only(self, formats: Sequence[str]) -> Plan:
        """The same plan with only the work of these formats."""
        return replace(self, works=tuple(work for work in self.works if work.format in formats))

    def servings(self, topologies: list[str], jpeg: list[str]) -> list[Serving]:
        """The servers that have work, in the order of what they tell: if time runs out, the last are left out.

        topologies: of `TOPOLOGIES`' values. jpeg: values of the setting of that name; none: it is left alone.
        """
        values: list[str | None] = [*jpeg] or [None]
        first = [Serving(name, self.settings[name][0], values[0]) for name in topologies]
        other_jpeg = [
            Serving(name, self.settings[name][0], value)
            for value in values[1:]
            for name in (FUSED, SPLIT)
            if name in topologies
        ]
        more = [
            Serving(name, setting, values[0], first=False)
            for name in reversed(topologies)
            for setting in self.settings[name][1:]
        ]
        return [each for each in first + other_jpeg + more if self.works_of(each, jpeg)]

    def works_of(self, serving: Serving, jpeg: list[str], transports: Sequence[str] = ("npy",)) -> list[Work]:
        """What is sent to a server: all; another way to code JPEG, or another setting, is told by JPEG alone.

        transports: of TRANSPORTS, the ways in which .npy clips are sent, one after the other.
        """
        if serving.first and (not jpeg or serving.jpeg == jpeg[0]):
            return [
                replace(work, by_region=transport == "region")
                for work in self.works
                for transport in (transports if work.format == "npy" else ("npy",))
            ]
        return [work for work in self.works if work.format == "jpeg"]


PAIR = Work((480, 854), 2, "jpeg", batch=8, users=128)
GPU_PLAN = Plan(
    works=(
        PAIR,
        Work((480, 854), 24, "jpeg", batch=4, users=48),
        Work((256, 448), 2, "jpeg", batch=16, users=128),
        Work((480, 854), 16, "npy", batch=4, users=32),
        Work((1080, 1920), 8, "npy", batch=2, users=16),
    ),
    settings={
        SPLIT: (Setting(batch=16, delay=5, encoders=4, decoders=4, handoff="auto"),),
        BOTH: (
            Setting(batch=16, delay=5, encoders=4, decoders=4, decoder_gpus="1/0", handoff="auto"),
            Setting(batch=8, delay=3, encoders=4, decoders=6, decoder_gpus="1/0", handoff="auto"),
        ),
        FUSED: (
            Setting(topology="fused", batch=8, delay=3, fused_workers=8),
            Setting(topology="fused", batch=16, delay=5, fused_workers=4),
        ),
    },
    lone=PAIR,
    lone_calls=100,
    model_seconds=1.5,
    warm_seconds=1.5,
    window_seconds=6.0,
    processes=8,
    warm_sizes=((256, 448), (480, 854), (1080, 1920)),
    start_seconds=40.0,
)

_SMALL_PAIR = Work((64, 96), 2, "jpeg", batch=2, users=2)
QUICK_PLAN = Plan(
    works=(_SMALL_PAIR, Work((64, 96), 4, "npy", batch=2, users=2)),
    settings={
        SPLIT: (Setting(batch=4, delay=3, handoff="auto"),),
        BOTH: (Setting(batch=4, delay=3, decoders=2, decoder_gpus="1/0", handoff="auto"),),
        FUSED: (Setting(topology="fused", batch=4, delay=3),),
    },
    lone=_SMALL_PAIR,
    lone_calls=10,
    model_seconds=0.2,
    warm_seconds=0.3,
    window_seconds=1.0,
    processes=1,
    warm_sizes=(),
    start_seconds=0.0,
)
