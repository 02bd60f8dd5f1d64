"""A visitor's options for a film, as options of the command eden-interpolate."""

from __future__ import annotations

from eden_client.film.write.encoding import holds
from web.answers import ApiError
from web.schemas import Options

_CRF = {
    "smaller": {"h264": 23, "hevc": 26, "vp9": 34, "av1": 36},
    "better": {"h264": 12, "hevc": 14, "vp9": 16, "av1": 16},
}
"""--crf by quality and codec; the standard quality is the command's default."""


def arguments(options: Options) -> list[str]:
    """The command's arguments for these options. Raises ApiError 422: two of the options exclude each other."""
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
            raise ApiError(422, "a GIF has no codec and no quality to choose")
        return []
    codec = options.codec
    if codec is not None and not holds(f".{options.format}", codec):
        raise ApiError(422, f"{options.format} cannot hold {codec}")
    if options.quality == "standard":
        return ["--codec", codec] if codec else []
    codec = codec or ("vp9" if options.format == "webm" else "h264")
    return ["--codec", codec, "--crf", str(_CRF[options.quality][codec])]
