"""Chooses a result's codec, pixel format and options: the user's, else those that lose least and can be played."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
from av.codec.codec import UnknownCodecError
from av.video.format import VideoFormat as PixelFormat

from eden_client.film.read.film import VideoFormat
from eden_client.film.write.hardware import hardware, software_in_place_of, usable_formats
from eden_client.film.write.hdr import hdr_options
from media.errors import MediaError


@dataclass(frozen=True)
class Encoding:
    """How a film is encoded."""

    container: str
    """FFmpeg's name of the file format"""
    codec: str
    """FFmpeg's name of the encoder"""
    pixel_format: str
    """FFmpeg's name"""
    options: tuple[tuple[str, str], ...] = ()
    """(name, value) of the encoder's options"""
    pad: bool = False
    """whether odd sides are made even, by repeating the last column or row"""


CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""File endings, and FFmpeg's names of the formats that they stand for."""

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1", "prores": "prores_ks"}
"""Short names of codecs, and FFmpeg's encoders for them. Other encoders are chosen by FFmpeg's names."""

_ALIASES = {"h265": "hevc", "x264": "h264", "x265": "hevc"}
_CRF_OF_HARDWARE = {"h264": 17, "hevc": 19, "vp9": 24, "av1": 24}
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24}
_DEFAULT_PRESET = {"libx264": "medium", "libx265": "medium", "libvpx-vp9": "4", "libsvtav1": "8"}
_FIXED = {
    # Without it, the bytes that libx264 writes depend on the processor; with AVX-512, those of small pictures may even
    # differ from run to run.
    "libx264": {"x264-params": "cpu-independent=1"},
    "libx265": {"x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"b": "0", "deadline": "good", "row-mt": "1"},
    "libsvtav1": {"svtav1-params": "tune=0:lp=1"},
    "ffv1": {"level": "3", "slices": "4", "slicecrc": "1"},
}
_PLAYED_AS_420 = ("libx264", "libx265", "libvpx-vp9", "libsvtav1")
"""Encoders whose films many players can show only in 4:2:0."""
_PLAIN = ("yuv4", "yuva4", "gbr", "bgr0", "bgra", "rgb24", "nv12", "nv16", "p0", "p2")
"""Beginnings of the names of common pixel formats, which are preferred."""
_EVEN = ("libx264", "libx265", "libsvtav1")
"""Encoders that need even sides where chroma is subsampled."""
_STATES_ASPECT = ("libx264", "libx265")
"""Encoders that state the pixel aspect in their own data, since PyAV cannot pass it to Matroska's writer."""
_TWO_VIEWS = ("left_right", "right_left", "top_bottom", "bottom_top")
STEREO_MODES = {
    "webm": _TWO_VIEWS,
    "matroska": (
        *_TWO_VIEWS,
        *(
            f"{kind}_{order}"
            for kind in ("checkerboard", "row_interleaved", "col_interleaved")
            for order in ("lr", "rl")
        ),
        *("block_lr", "block_rl"),
    ),
}
"""The layouts of two views in one picture that a container can state, by container."""
_REFUSED = {"mov": ("vp8", "vp9", "av1")}
"""Codecs that a container's muxer refuses, though FFmpeg lists them for it."""
_LEAST = {"libx265": (16, 64)}
"""Fewest rows and columns of a picture. With fewer than 64 columns, libx265 overwrites memory of others."""
_MOST_PER_SECOND = {"libsvtav1": 240}
"""Most frames per second."""
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
    video_format: VideoFormat,
    ending: str,
    codec: str | None,
    crf: int | None,
    preset: str | None,
    pixel_format: str | None,
) -> tuple[Encoding, list[str]]:
    """The encoding of a film of `video_format` in a file with that ending, and notes for the user.

    What is None is chosen here. Raises MediaError: the ending, codec, quality, preset or pixel format is unknown or
    does not fit the others, or the codec does not take such pictures.
    """
    container = CONTAINERS.get(ending.lower())
    if container is None:
        raise MediaError(f"unknown kind of file {ending!r}; known are {', '.join(CONTAINERS)}")
    encoder = _encoder(codec) if codec else _default_encoder(video_format, container)
    if not _fits(encoder, container):
        raise MediaError(f"{ending} cannot hold {codec or encoder}")
    if encoder == "rawvideo":
        raise MediaError(f"raw video is not written to {ending}: ffv1 is lossless too, and OUTPUT - writes y4m")
    _check_limits(encoder, video_format)
    offered = [each.name for each in av.Codec(encoder, "w").video_formats or []]
    offered = offered or [pixel_format or video_format.pixel_format]  # some encoders do not list their formats
    if hardware(encoder):
        offered = usable_formats(encoder, offered)
    chosen, notes = choose_pixel_format(video_format, offered, pixel_format, encoder)
    options = _FIXED.get(encoder, {}) | _quality(encoder, crf, preset)
    told, lost = hdr_options(encoder, video_format, options)
    options |= told
    if video_format.stereo and video_format.stereo not in STEREO_MODES.get(container, ()):
        lost.append("3D layout (stereo_mode)")
    if lost := [*lost, *video_format.lost]:
        notes.append(f"left out, cannot be stated in {ending} with {encoder}: {', '.join(lost)}")
    if chosen.startswith("yuva") and encoder == "libvpx-vp9":
        options["auto-alt-ref"] = "0"  # libvpx cannot combine transparency with alternate reference frames
    if encoder == "prores_ks":
        options["profile"] = "4444" if "444" in chosen else "hq"
    height, width = video_format.size
    shape = PixelFormat(chosen, 16, 16)
    subsampled = not shape.is_rgb and shape.chroma_width() < 16
    pad = (encoder in _EVEN or hardware(encoder) is not None) and subsampled and (width % 2 == 1 or height % 2 == 1)
    if pad:
        notes.append(
            f"{width}x{height} is odd: {encoder} in {chosen} needs even sides, so the last column or row is repeated"
        )
    if video_format.aspect != 1 and container in ("matroska", "webm") and encoder not in _STATES_ASPECT:
        notes.append(
            f"pixels of {video_format.aspect} become square: {ending} keeps their shape with h264 and hevc only"
        )
    return Encoding(container, encoder, chosen, tuple(options.items()), pad), notes


def holds(ending: str, codec: str) -> bool:
    """Whether a film of that codec can be written to a file with that ending, one of CONTAINERS.

    Raises MediaError: the codec is unknown.
    """
    return _fits(_encoder(codec), CONTAINERS[ending])


def refusal(encoder: str, size: tuple[int, int], pixel_format: str, rate: Fraction, why: str) -> str:
    """The message that an encoder does not take pictures of `size` (H, W) at `rate` per second; `why`: its reason."""
    kind = hardware(encoder)
    pictures = f"{size[1]}x{size[0]} in {pixel_format}, {float(rate):.6g} per second"
    if kind:
        instead = software_in_place_of(encoder, ENCODERS)
        return f"{encoder} needs {kind.needs}: it cannot encode {pictures} here ({why}); --codec {instead} needs none"
    return f"{encoder} cannot encode this: {why} ({pictures})"


def _check_limits(encoder: str, video_format: VideoFormat) -> None:
    (height, width), (rows, columns) = video_format.size, _LEAST.get(encoder, (1, 1))
    if height < rows or width < columns:
        raise MediaError(f"{encoder} needs pictures of at least {columns}x{rows}, not {width}x{height}")
    most, rate = _MOST_PER_SECOND.get(encoder), video_format.rate
    if most is not None and rate > most:
        raise MediaError(f"{encoder} takes {most} frames per second at most, not {float(rate):.6g}: --fps sets fewer")


def _encoder(codec: str) -> str:
    short = _ALIASES.get(codec, codec)
    name = ENCODERS.get(short, short)
    kind = hardware(name)
    try:
        if av.Codec(name, "w").type == "video":
            return name
    except UnknownCodecError:
        if kind:
            instead = software_in_place_of(name, ENCODERS)
            raise MediaError(
                f"{name} needs {kind.needs}: the FFmpeg here is built without it; --codec {instead} needs none"
            ) from None
    raise MediaError(f"unknown video codec {codec!r}: {', '.join(ENCODERS)}, ffv1, or the name of an FFmpeg encoder")


def _default_encoder(video_format: VideoFormat, container: str) -> str:
    """The encoder for the source's codec where the container takes it; else what players of that container expect."""
    if video_format.alpha:
        return {"mov": "prores_ks", "webm": "libvpx-vp9", "matroska": "ffv1"}.get(container, "libx264")
    family = _FAMILIES.get(video_format.codec, "")
    own = ENCODERS.get(family, family)
    large = {name: all(a >= b for a, b in zip(video_format.size, least, strict=True)) for name, least in _LEAST.items()}
    if not large.get(own, True) or video_format.rate > _MOST_PER_SECOND.get(own, video_format.rate):
        own = ""
    plays = own != "ffv1" or container == "matroska"  # MP4 can hold FFV1, but hardly any player shows it
    if own and plays and _fits(own, container) and (own != "libx264" or video_format.bits == 8):
        return own
    if container == "webm":
        return "libvpx-vp9" if video_format.bits == 8 else "libsvtav1"
    return (
        "libx264" if video_format.bits == 8 or not large["libx265"] else "libx265"
    )  # players that decode 10-bit H.264 are rare


def _fits(encoder: str, container: str) -> bool:
    refused = _REFUSED.get(container, ())
    return encoder in supported(container) and av.Codec(encoder, "w").canonical_name not in refused


@cache
def supported(container: str) -> frozenset[str]:
    """The encoders that FFmpeg lists for a container."""
    with av.open(io.BytesIO(), "w", format=container) as probe:
        return frozenset(probe.supported_codecs)


def _quality(encoder: str, crf: int | None, preset: str | None) -> dict[str, str]:
    """The encoder's options for a quality (lower is better) and a preset; None: its defaults.

    Raises MediaError: the encoder has no quality or presets to choose.
    """
    options: dict[str, str] = {}
    kind = hardware(encoder)
    if kind:
        codec = av.Codec(encoder, "w").canonical_name
        options |= kind.quality(_CRF_OF_HARDWARE.get(codec, 20) if crf is None else crf)
        if preset is not None and not kind.presets:
            raise MediaError(f"{encoder} has no presets (--preset)")
        return options | ({"preset": preset} if preset else {})
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
    video_format: VideoFormat, offered: Sequence[str], wanted: str | None, holder: str
) -> tuple[str, list[str]]:
    """The pixel format that is wanted, or else the one that loses least of those offered; and notes for the user.

    holder   what is to hold the pictures: an encoder, or y4m
    Raises MediaError: the wanted format is not offered.
    """
    if wanted is not None and wanted not in offered:
        raise MediaError(f"{holder} does not take {wanted}; it takes {', '.join(offered)}")
    plain = [name for name in offered if name.startswith(_PLAIN)]
    name = wanted or min(plain or offered, key=lambda name: _loss(video_format, holder, name))
    chosen, notes = PixelFormat(name, 16, 16), []
    bits = max(c.bits for c in chosen.components if not c.is_alpha)
    if bits < video_format.bits:
        notes.append(f"the source has {video_format.bits} bits per colour, {name} keeps {bits}")
    elif video_format.bits > 8:
        notes.append(f"{video_format.bits} bits are kept per colour; frames in between have 8")
    if video_format.alpha and not any(c.is_alpha for c in chosen.components):
        notes.append(f"transparency is lost (on black): {holder} in {name} has none")
    if wanted is None and _coarser(video_format, name):
        whole = [each for each in plain if not _coarser(video_format, each) and not PixelFormat(each, 16, 16).is_rgb]
        hint = min(whole, key=lambda each: _loss(video_format, holder, each), default=None)
        more = f" (--pixel-format {hint} keeps it, where it is played)" if hint else ""
        notes.append(f"colours lose detail: {video_format.pixel_format} becomes {name}{more}")
    return name, notes


def _chroma(pixel_format: str) -> tuple[int, int]:
    """Columns and rows of chroma samples for 16x16 pixels; 0 where there is only grey."""
    shape = PixelFormat(pixel_format, 16, 16)
    if shape.is_rgb or pixel_format == "pal8":
        return 16, 16
    return (shape.chroma_width(), shape.chroma_height()) if len(shape.components) >= 3 else (0, 0)


def _coarser(video_format: VideoFormat, name: str) -> bool:
    """Whether a pixel format has fewer columns or rows of chroma than the film."""
    return any(there < here for there, here in zip(_chroma(name), _chroma(video_format.pixel_format), strict=True))


def _loss(video_format: VideoFormat, holder: str, name: str) -> tuple[int, ...]:
    """How much a pixel format loses of the source, worst losses first, then how much it wastes: less is better."""
    source, target = PixelFormat(video_format.pixel_format, 16, 16), PixelFormat(name, 16, 16)
    bits = max(c.bits for c in target.components if not c.is_alpha)
    has_alpha = any(c.is_alpha for c in target.components)
    detail = 256 if target.is_rgb else target.chroma_width() * target.chroma_height()
    as_420 = holder in _PLAYED_AS_420 or hardware(holder) is not None
    if source.is_rgb or video_format.pixel_format == "pal8":
        wanted = 64 if as_420 else 256
    elif len(source.components) < 3:
        wanted = 64
    else:
        wanted = source.chroma_width() * source.chroma_height()
    return (
        int(video_format.alpha and not has_alpha),
        max(0, video_format.bits - bits),
        max(0, wanted - detail),
        int(target.is_rgb != (source.is_rgb and not as_420)),
        int(has_alpha and not video_format.alpha),
        max(0, bits - video_format.bits),
        max(0, detail - wanted),
    )
