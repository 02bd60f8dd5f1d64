"""What a visitor wants of a film, as options of the command eden-interpolate."""

from __future__ import annotations

from web.answers import ApiError
from web.schemas import Options

_CRF = {"h264": (17, 23, 12), "hevc": (19, 26, 14), "vp9": (24, 34, 16), "av1": (24, 36, 16)}
"""By codec: the command's own, that of smaller files, that of better pictures."""


def arguments(options: Options) -> list[str]:
    """Of a film like that. Raises ApiError 422: two of the options exclude each other."""
    told = ["--duplicates", "skip"] if options.preset == "animation" else []
    if options.times is not None and options.fps is not None:
        raise ApiError(422, "either times or fps, not both")
    if options.fps is not None:
        told += ["--fps", options.fps]
    else:
        told += ["--times", str(options.times or options.slow_motion or 2)]
    if options.slow_motion is not None:
        told += ["--slow", str(options.slow_motion)]
    if options.start:
        told += ["--start", f"{options.start:.6f}"]
    if options.duration is not None:
        told += ["--duration", f"{max(options.duration, 1e-6):.6f}"]
    return told + _encoding(options)


def _encoding(options: Options) -> list[str]:
    if options.format == "gif":
        if options.codec is not None or options.quality != "standard":
            raise ApiError(422, "a GIF has neither codec nor quality to choose")
        return []
    codec = options.codec
    if (codec == "h264" and options.format == "webm") or (codec in ("vp9", "av1") and options.format == "mov"):
        raise ApiError(422, f"{options.format} cannot hold {codec}")
    if codec == "hevc" and options.format == "webm":
        raise ApiError(422, "webm cannot hold hevc")
    if options.quality == "standard":
        return ["--codec", codec] if codec else []
    codec = codec or ("vp9" if options.format == "webm" else "h264")
    _, smaller, better = _CRF[codec]
    return ["--codec", codec, "--crf", str(smaller if options.quality == "smaller" else better)]
