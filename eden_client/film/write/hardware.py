"""Hardware encoders: what each kind needs, and its options for a quality and a preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from av.video.format import VideoFormat as PixelFormat


@dataclass(frozen=True)
class Hardware:
    """A kind of hardware encoder."""

    ending: str
    """how the names of FFmpeg's encoders of this kind end, as in h264_nvenc"""
    needs: str
    """what the machine must have, for an error message"""
    quality: Callable[[int], dict[str, str]]
    """returns this kind's options for a quality on the scale of --crf (lower is better)"""
    presets: bool = True
    """whether it has the option `preset`"""


_FFMPEG_SCALE = 118
"""FFmpeg's factor (FF_QP2LAMBDA) between `global_quality` and a fixed quantiser scale."""


def _videotoolbox(crf: int) -> dict[str, str]:
    """VideoToolbox's scale goes from 1 to 100, and higher is better."""
    quality = max(1, min(100, round(100 - crf * 100 / 51)))
    return {"flags": "+qscale", "global_quality": str(quality * _FFMPEG_SCALE)}


KINDS = (
    Hardware(
        "_nvenc",
        "an NVIDIA GPU with an encoder and its driver",
        lambda crf: {"rc": "vbr", "cq": str(crf), "b": "0"},
    ),
    Hardware("_qsv", "an Intel GPU with Quick Sync and its driver", lambda crf: {"global_quality": str(crf)}),
    Hardware(
        "_vaapi",
        "a GPU with a VA-API driver, and an FFmpeg built with it",
        lambda crf: {"rc_mode": "CQP", "global_quality": str(crf)},
        presets=False,
    ),
    Hardware("_videotoolbox", "a Mac, and an FFmpeg built for it", _videotoolbox, presets=False),
)


def hardware(encoder: str) -> Hardware | None:
    """The kind of a hardware encoder, by its name; None: it is software."""
    return next((kind for kind in KINDS if encoder.endswith(kind.ending)), None)


def software_in_place_of(encoder: str, encoders: dict[str, str]) -> str:
    """The software encoder for the codec of a hardware encoder, of `encoders`."""
    codec = encoder.rsplit("_", 1)[0]
    return encoders.get(codec, encoders["h264"])


def usable_formats(encoder: str, offered: list[str]) -> list[str]:
    """The formats offered that lie in main memory and have as many bits as such an encoder takes (8 for H.264)."""
    bits = {name: [c.bits for c in PixelFormat(name, 16, 16).components] for name in offered}
    most = 8 if encoder.startswith("h264") else 16
    return [name for name in offered if bits[name] and max(bits[name]) <= most]
