"""The options of a request: form fields, and headers for options that no field sets.

Form fields reach only the workflow's first node, so their values travel on in the ticket. Every value is matched by a
pattern of bounded length before it is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any, get_args

import msgspec

from eden.planes import Matrix, Range, YuvFormat
from media import video_writer
from media.frame_layout import FrameLayout
from media.region_format import CONTENT_TYPE as REGION
from media.terms import LATEST_MS, PRIORITIES, Priority
from serving.errors import BadRequest, NotAcceptable, shown
from serving.regions import Place
from serving.request import Request, as_text
from tracing.context import HEADER as TRACEPARENT

CONTENT_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "zip": "application/zip",
    "mp4": "video/mp4",
    "region": REGION,
}
"""Formats of an answer and their content types."""

FIELDS = ("seed", "format", "quality", "fps", "stream", "layout", "matrix", "range", "deadline_ms", "priority", "spans")
"""Names of the form fields; the headers are X-Eden-Seed, X-Eden-Deadline-Ms, ... and Accept."""

KNOWN_FIELDS = (*FIELDS, TRACEPARENT)
"""All form fields that are not frames."""

SLOWEST, FASTEST = video_writer.SLOWEST, video_writer.FASTEST / 2
"""Frames per second of a source, for an answer as mp4, which has twice as many."""
LARGEST_TERM = video_writer.LARGEST_TERM // 2
_BOUNDS = f"from {SLOWEST} to {FASTEST}, as a fraction of whole numbers up to {LARGEST_TERM}"
# Patterns of bounded length, and without exponents: a value that matches is quick to compute with.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_RATE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,12})?|[0-9]{1,10}/[0-9]{1,10}")


@dataclass(frozen=True)
class Options:
    """The options of one request; None for an option that it does not set."""

    seed: int | None = None
    format: str | None = None
    quality: int | None = None
    fps: str | None = None
    """Frames per second of the source, as "24" or "30000/1001": for an mp4 of a source without a rate."""
    stream: bool = False
    yuv: YuvFormat | None = None
    """Format of the frames, both sent and answered, if they are planes; None: RGB."""
    place: Place | None = None
    """Where in a shared memory region the frames between are written; None: they are the answer's body."""
    deadline_ms: int | None = None
    """How long the caller waits for the answer, in milliseconds from the request's arrival."""
    priority: Priority | None = None
    spans: bool = False
    """Whether the answer is to contain the request's spans (serving.tracer has read this already)."""

    def terms(self, request: Request) -> Request:
        """The request with its deadline and its priority."""
        due = math.inf if self.deadline_ms is None else request.arrived + self.deadline_ms / 1000
        return replace(request, due=due, priority=self.priority or request.priority)

    def to_ticket(self, default_format: str, due: float = math.inf) -> dict[str, Any]:
        """The options as JSON values for a ticket.

        default_format: of the answer, if the request names none · due: deadline in seconds since the epoch (machines
        that share tickets keep their clocks in step).
        """
        here = ("stream", "deadline_ms", "spans")
        values = {name: value for name, value in asdict(self).items() if value is not None and name not in here}
        if self.place is not None:
            values["place"] = msgspec.structs.asdict(self.place)
        if due < math.inf:
            values["due"] = due
        return values | {"answer": default_format}

    def with_ticket(self, ticketed: Mapping[str, Any]) -> tuple[Options, str]:
        """(these options of a decoder's request, overridden by those in its ticket; the default format of the answer).

        `ticketed`: the options of a verified ticket. Raises BadRequest if both name a format of planes and they differ.
        """
        yuv = YuvFormat(**ticketed["yuv"]) if "yuv" in ticketed else None
        check_agreement(self.yuv, yuv, "the ticket")
        named = {name: ticketed[name] for name in ("seed", "format", "quality", "fps", "priority") if name in ticketed}
        place = Place.of_ticket(ticketed["place"]) if "place" in ticketed else None
        return replace(self, place=place, yuv=yuv, **named), str(ticketed["answer"])


@dataclass(frozen=True)
class Rendering:
    """How the frames of an answer are encoded."""

    format: str
    """a key of CONTENT_TYPES"""
    quality: int | None
    fps: str | None
    place: Place | None = None
    """where the frames are written, if the format is region"""
    yuv: YuvFormat | None = None
    """format of frames that are planes; None: RGB"""


def rendering(options: Options, default_format: str, stream: bool) -> Rendering:
    """How to encode the answer for these options; `stream`: frame by frame. Raises BadRequest."""
    single = "png" if stream and default_format in ("mp4", "zip") else default_format
    format = options.format or single
    if format == "region" and options.place is None:
        raise BadRequest("format is region, but the request describes no region with room for the answer")
    if options.yuv and format not in ("npy", "region"):
        raise BadRequest(f"layout is i420, which {format} does not hold: ask for npy, or a region")
    return Rendering(format, options.quality, options.fps, options.place, options.yuv)


def check_agreement(requested: YuvFormat | None, found: YuvFormat | None, who: str) -> None:
    """Raises BadRequest if the options name a format of planes, and `who` has another one, or RGB."""
    if requested and requested != found:
        raise BadRequest(f"layout is i420 ({requested}), but {who} says {f'i420 ({found})' if found else 'rgb24'}")


def read_options(fields: Mapping[str, object], headers: Mapping[str, str]) -> Options:
    """Read the options of a request; `headers` by lower-case name.

    Raises BadRequest, naming the option and its possible values.
    """
    by_header = {name: f"x-eden-{name.replace('_', '-')}" for name in FIELDS}
    values = {name: headers[header] for name, header in by_header.items() if header in headers}
    values |= {name: as_text(name, fields[name]) for name in FIELDS if name in fields}
    if "format" not in values and (accepted := _accepted(headers.get("accept", "*/*"))):
        values["format"] = accepted
    return Options(
        seed=_whole("seed", values["seed"], 0, 2**63 - 1) if "seed" in values else None,
        format=_format(values["format"]) if "format" in values else None,
        quality=_whole("quality", values["quality"], 1, 100) if "quality" in values else None,
        fps=_rate(values["fps"]) if "fps" in values else None,
        stream=_truth("stream", values.get("stream", "0")),
        yuv=_yuv(values),
        deadline_ms=_whole("deadline_ms", values["deadline_ms"], 1, LATEST_MS) if "deadline_ms" in values else None,
        priority=_one_of("priority", values["priority"], PRIORITIES) if "priority" in values else None,
        spans=_truth("spans", values.get("spans", "0")),
    )


def _yuv(values: Mapping[str, str]) -> YuvFormat | None:
    layout: FrameLayout = _one_of("layout", values.get("layout", "rgb24"), get_args(FrameLayout))
    matrix: Matrix = _one_of("matrix", values.get("matrix", "bt709"), get_args(Matrix))
    range: Range = _one_of("range", values.get("range", "limited"), get_args(Range))
    if layout == "i420":
        return YuvFormat(matrix, range)
    if named := [name for name in ("matrix", "range") if name in values]:
        raise BadRequest(f"{named[0]} is {shown(values[named[0]])}, but the layout is {layout}: it goes with i420")
    return None


def _one_of(name: str, value: str, known: tuple[Any, ...]) -> Any:
    if value.strip().lower() not in known:
        raise BadRequest(f"{name} is {shown(value)}, not one of {', '.join(known)}")
    return value.strip().lower()


def _whole(name: str, value: str, low: int, high: int) -> int:
    if not _WHOLE.fullmatch(value.strip()):
        raise BadRequest(f"{name} is {shown(value)}, not a whole number from {low} to {high}")
    number = int(value)
    if not low <= number <= high:
        raise BadRequest(f"{name} is {number}, outside {low} to {high}")
    return number


def _truth(name: str, value: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.strip().lower() not in known:
        raise BadRequest(f"{name} is {shown(value)}, not one of {', '.join(known)}")
    return known[value.strip().lower()]


def _rate(value: str) -> str:
    if not _RATE.fullmatch(value.strip()):
        raise BadRequest(f"fps is {shown(value)}, not a number such as 24 or 30000/1001: {_BOUNDS}")
    try:
        rate = Fraction(value.strip())
    except ZeroDivisionError:
        raise BadRequest(f"fps is {shown(value)}, not a number") from None
    if not SLOWEST <= rate <= FASTEST or max(rate.numerator, rate.denominator) > LARGEST_TERM:
        raise BadRequest(f"fps is {shown(value)}, outside what is allowed: {_BOUNDS}")
    return str(rate)


def own_rate(rate: Fraction) -> str:
    """A video's own average rate as a value of the option fps: the nearest that an mp4 can have.

    Raises BadRequest if it is too high or too low.
    """
    if not SLOWEST <= rate <= FASTEST:
        raise BadRequest(f"the video states {float(rate):g} frames per second: set fps, {_BOUNDS}")
    if max(rate.numerator, rate.denominator) > LARGEST_TERM:
        rate = rate.limit_denominator(LARGEST_TERM // max(1, math.ceil(rate)))
    return str(rate)


def _format(value: str) -> str:
    name = value.strip().lower()
    name = "jpeg" if name == "jpg" else name
    if name not in CONTENT_TYPES:
        raise BadRequest(f"format is {shown(value)}, not one of {', '.join(CONTENT_TYPES)}")
    return name


def _accepted(header: str) -> str | None:
    """The format that an Accept header prefers; None if it accepts any. Raises BadRequest, NotAcceptable."""
    formats = {content_type: name for name, content_type in CONTENT_TYPES.items()}
    ranges = []
    for part in header.split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        if not _WEIGHT.fullmatch(weight):
            raise BadRequest(f"Accept: {shown(part.strip())} has no valid weight")
        ranges.append((float(weight), media_type))
    for preference, media_type in sorted(ranges, key=lambda r: -r[0]):
        if preference == 0:  # "not acceptable"
            break
        if media_type in formats:
            return formats[media_type]
        if media_type in ("*/*", "image/*", "application/*", "video/*", ""):
            return None
    raise NotAcceptable(f"Accept: {shown(header)} names none of {', '.join(formats)}")
