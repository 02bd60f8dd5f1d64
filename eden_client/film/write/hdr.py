"""HDR metadata: mastering display and light levels of a film, kept where the encoder can state them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from eden_client.film.read.film import Mastering, VideoFormat

_WRITERS = {
    "libx264": ("x264-params", "mastering-display", "cll", True),
    "libx265": ("x265-params", "master-display", "max-cll", True),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", False),
}
"""Per encoder: its option, the names in it for display and light, and whether it takes the bit stream's integers."""

_CHROMATICITY = Fraction(1, 50_000)
_LUMINANCE = Fraction(1, 10_000)
"""The units of H.265's messages for chromaticity, and for luminance in cd/m2."""


def hdr_options(
    encoder: str, video_format: VideoFormat, options: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The encoder's options that state mastering display and light levels, and the names of what it cannot state.

    options   the encoder's options so far, which are kept
    """
    mastering, light = video_format.mastering, video_format.light
    stated = ["mastering display"] * (mastering is not None) + ["light level (MaxCLL)"] * (light is not None)
    if not stated or encoder not in _WRITERS:
        return {}, stated
    option, display, level, whole = _WRITERS[encoder]
    told = [options[option]] if option in options else []
    if mastering is not None:
        told.append(f"{display}={_display(mastering, whole)}")
    if light is not None:
        told.append(f"{level}={light[0]},{light[1]}")
    return {option: ":".join(told)}, []


def _display(mastering: Mastering, whole: bool) -> str:
    def pair(name: str, values: tuple[Fraction, Fraction], unit: Fraction) -> str:
        texts = (str(round(each / unit)) if whole else f"{float(each):.6f}" for each in values)
        return f"{name}({','.join(texts)})"

    places = {"G": mastering.green, "B": mastering.blue, "R": mastering.red, "WP": mastering.white}
    colours = "".join(pair(name, place, _CHROMATICITY) for name, place in places.items())
    return colours + pair("L", (mastering.brightest, mastering.darkest), _LUMINANCE)
