"""Which codec, pixel format and options a result gets: the user's, else what keeps most and still plays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import av
from av.codec.codec import UnknownCodecError
from av.video.format import VideoFormat as PixelFormat

from eden_client.film.read.film import VideoFormat
from media.errors import MediaError


@dataclass(frozen=True)
class Encoding:
    """How a film is encoded."""

    container: str
    """FFmpeg's name of the file format"""
    codec: str
    """FFmpeg's name of the encoder"""
    pixel_format: str
    options: tuple[tuple[str, str], ...] = ()
    pad: bool = False
    """Sides are made even by repeating the last column or row."""


CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""File endings and FFmpeg's names of what they stand for."""

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1", "prores": "prores_ks"}
"""Short names and FFmpeg's encoders; any other encoder goes by FFmpeg's own name."""

_ALIASES = {"h265": "hevc", "x264": "h264", "x265": "hevc"}
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24}
_DEFAULT_PRESET = {"libx264": "medium", "libx265": "medium", "libvpx-vp9": "4", "libsvtav1": "8"}
_FIXED = {
    "libx265": {"x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"b": "0", "deadline": "good", "row-mt": "1"},
    "libsvtav1": {"svtav1-params": "tune=0:lp=1"},
    "ffv1": {"level": "3", "slices": "4", "slicecrc": "1"},
}
_PLAYED_AS_420 = ("libx264", "libx265", "libvpx-vp9", "libsvtav1")
_EVEN = ("libx264", "libx265", "libsvtav1")
_STATES_ASPECT = ("libx264", "libx265")
"""In their own data: PyAV has no way to tell it to Matroska's writer."""
_REFUSED = {"mov": ("vp8", "vp9", "av1")}
"""Codecs that FFmpeg has a tag for in a container, and its muxer does not take."""
_LEAST_WIDTH = {"libx265": 64}
"""In pixels: with narrower pictures it overwrites memory that is not its own."""
_FAMILIES = {
    "hevc": "hevc",
    "h264": "h264",
    "vp9": "vp9",
    "av1": "av1",
    "libdav1d": "av1",
    "prores": "prores",
    "ffv1": "ffv1",
}


def choose_encoding(
    look: VideoFormat, ending: str, codec: str | None, crf: int | None, preset: str | None, pixel_format: str | None
) -> tuple[Encoding, list[str]]:
    """How to write a film that looks like `look` to a file with that ending, and what a user should know about it.

    None leaves a choice to us. Raises MediaError: an ending, codec, quality or pixel format that cannot be had.
    """
    container = CONTAINERS.get(ending.lower())
    if container is None:
        raise MediaError(f"unknown kind of file {ending!r}: {', '.join(CONTAINERS)} are known")
    encoder = _encoder(codec) if codec else _default_encoder(look, container)
    if not _fits(encoder, container):
        raise MediaError(f"{ending} cannot hold {codec or encoder}")
    if look.size[1] < _LEAST_WIDTH.get(encoder, 0):
        raise MediaError(f"{encoder} needs pictures of at least {_LEAST_WIDTH[encoder]} columns, not {look.size[1]}")
    offered = [each.name for each in av.Codec(encoder, "w").video_formats or []]
    offered = offered or [pixel_format or look.pixel_format]  # some do not say what they take
    chosen, notes = choose_pixel_format(look, offered, pixel_format, encoder)
    options = _FIXED.get(encoder, {}) | _quality(encoder, crf, preset)
    if chosen.startswith("yuva") and encoder == "libvpx-vp9":
        options["auto-alt-ref"] = "0"  # it cannot do both
    if encoder == "prores_ks":
        options["profile"] = "4444" if "444" in chosen else "hq"
    shape = PixelFormat(chosen, 16, 16)
    subsampled = not shape.is_rgb and shape.chroma_width() < 16
    pad = encoder in _EVEN and subsampled and (look.size[0] % 2 == 1 or look.size[1] % 2 == 1)
    if pad:
        notes.append(
            f"{look.size[1]}x{look.size[0]} is odd: {encoder} in {chosen} needs even sides, the last ones are repeated"
        )
    if look.aspect != 1 and container in ("matroska", "webm") and encoder not in _STATES_ASPECT:
        notes.append(f"pixels of {look.aspect} become square: {ending} keeps their shape with h264 and hevc only")
    return Encoding(container, encoder, chosen, tuple(options.items()), pad), notes


def _encoder(codec: str) -> str:
    short = _ALIASES.get(codec, codec)
    name = ENCODERS.get(short, short)
    try:
        if av.Codec(name, "w").type == "video":
            return name
    except UnknownCodecError:
        pass
    raise MediaError(f"unknown video codec {codec!r}: {', '.join(ENCODERS)}, ffv1, or the name of an FFmpeg encoder")


def _default_encoder(look: VideoFormat, container: str) -> str:
    """The source's own kind, where the container takes it; else what players of that container expect."""
    if look.alpha:
        return {"mov": "prores_ks", "webm": "libvpx-vp9", "matroska": "ffv1"}.get(container, "libx264")
    family = _FAMILIES.get(look.codec, "")
    own = ENCODERS.get(family, family)
    wide = look.size[1] >= _LEAST_WIDTH["libx265"]
    if own == "libx265" and not wide:
        own = ""
    plays = own != "ffv1" or container == "matroska"  # MP4 may hold FFV1, but who would play it
    if own and plays and _fits(own, container) and (own != "libx264" or look.bits == 8):
        return own
    if container == "webm":
        return "libvpx-vp9" if look.bits == 8 else "libsvtav1"
    return "libx264" if look.bits == 8 or not wide else "libx265"  # players that decode 10-bit H.264 are rare


def _fits(encoder: str, container: str) -> bool:
    refused = _REFUSED.get(container, ())
    return encoder in supported(container) and av.Codec(encoder, "w").canonical_name not in refused


@cache
def supported(container: str) -> frozenset[str]:
    """The encoders for which FFmpeg has a place in a container, by its tables."""
    with av.open(io.BytesIO(), "w", format=container) as probe:
        return frozenset(probe.supported_codecs)


def _quality(encoder: str, crf: int | None, preset: str | None) -> dict[str, str]:
    """The options for a quality (lower is better) and a preset, where the encoder has such a thing."""
    options: dict[str, str] = {}
    if encoder in _DEFAULT_CRF:
        options["crf"] = str(_DEFAULT_CRF[encoder] if crf is None else crf)
    elif crf is not None:
        raise MediaError(f"{encoder} has no quality to set (--crf)")
    if encoder in _DEFAULT_PRESET:
        options["cpu-used" if encoder == "libvpx-vp9" else "preset"] = preset or _DEFAULT_PRESET[encoder]
    elif preset is not None:
        raise MediaError(f"{encoder} has no presets (--preset)")
    return options


def choose_pixel_format(
    look: VideoFormat, offered: Sequence[str], wanted: str | None, holder: str
) -> tuple[str, list[str]]:
    """The one of the pixel formats offered that is wanted, or else loses least; and what a user should know about it.

    holder   of the pictures: an encoder, or y4m
    Raises MediaError: what is wanted is not among them.
    """
    if wanted is not None and wanted not in offered:
        raise MediaError(f"{holder} does not take {wanted}; it takes {', '.join(offered)}")
    plain = [name for name in offered if name.startswith(("yuv4", "yuva4", "gbr", "bgr0", "bgra", "rgb24"))]
    name = wanted or min(plain or offered, key=lambda name: _loss(look, holder, name))
    chosen, notes = PixelFormat(name, 16, 16), []
    bits = max(c.bits for c in chosen.components if not c.is_alpha)
    if bits < look.bits:
        notes.append(f"the source has {look.bits} bits a colour, {name} keeps {bits}")
    elif look.bits > 8:
        notes.append(f"{look.bits} bits are kept; the frames in between are made of 8")
    if look.alpha and not any(c.is_alpha for c in chosen.components):
        notes.append(f"transparency is lost (on black): {holder} in {name} has none")
    return name, notes


def _loss(look: VideoFormat, holder: str, name: str) -> tuple[int, ...]:
    """What a pixel format loses of the source, worst first; then what it wastes."""
    source, target = PixelFormat(look.pixel_format, 16, 16), PixelFormat(name, 16, 16)
    bits = max(c.bits for c in target.components if not c.is_alpha)
    has_alpha = any(c.is_alpha for c in target.components)
    detail = 256 if target.is_rgb else target.chroma_width() * target.chroma_height()
    if source.is_rgb or look.pixel_format == "pal8":
        wanted = 64 if holder in _PLAYED_AS_420 else 256
    elif len(source.components) < 3:
        wanted = 64
    else:
        wanted = source.chroma_width() * source.chroma_height()
    return (
        int(look.alpha and not has_alpha),
        max(0, look.bits - bits),
        max(0, wanted - detail),
        int(target.is_rgb != (source.is_rgb and holder not in _PLAYED_AS_420)),
        int(has_alpha and not look.alpha),
        max(0, bits - look.bits),
        max(0, detail - wanted),
    )
