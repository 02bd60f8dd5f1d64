"""What a request asks for besides its frames: form fields first, headers where no field says it.

Form fields reach only the workflow's first node, so what they say travels on in the ticket. Everything is matched by a
pattern of bounded length before it is computed with.
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
"""All fields that are no frames."""

SLOWEST, FASTEST = video_writer.SLOWEST, video_writer.FASTEST / 2
"""Frames a second of a source; an mp4 made of it has twice as many."""
LARGEST_TERM = video_writer.LARGEST_TERM // 2
_BOUNDS = f"from {SLOWEST} to {FASTEST}, as a fraction of whole numbers up to {LARGEST_TERM}"
# Of bounded length, and without exponents: what a pattern lets through is quick to compute with.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_RATE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,12})?|[0-9]{1,10}/[0-9]{1,10}")


@dataclass(frozen=True)
class Options:
    """What one request asked for; None where it asked for nothing."""

    seed: int | None = None
    format: str | None = None
    quality: int | None = None
    fps: str | None = None
    """Frames a second of the source, as "24" or "30000/1001": for an mp4 made of frames that carry no rate."""
    stream: bool = False
    yuv: YuvFormat | None = None
    """Of frames that come, and go, as planes; None: they are RGB."""
    place: Place | None = None
    """Where in a shared memory region the frames between go."""
    deadline_ms: int | None = None
    """Milliseconds from its arrival within which the caller waits for the answer."""
    priority: Priority | None = None
    spans: bool = False
    """Whether the spans of the request are to come with the answer (serving.tracer has looked already)."""

    def terms(self, request: Request) -> Request:
        """The request, with when it is due and how urgent it is."""
        due = math.inf if self.deadline_ms is None else request.arrived + self.deadline_ms / 1000
        return replace(request, due=due, priority=self.priority or request.priority)

    def to_ticket(self, default_format: str, due: float = math.inf) -> dict[str, Any]:
        """What travels in a ticket: small JSON values, the format of an answer where none was named, and when it is
        due, as a time of day: the machines that share tickets keep their clocks in step."""
        here = ("stream", "deadline_ms", "spans")
        said = {name: value for name, value in asdict(self).items() if value is not None and name not in here}
        if self.place is not None:
            said["place"] = msgspec.structs.asdict(self.place)
        if due < math.inf:
            said["due"] = due
        return said | {"answer": default_format}

    def with_ticket(self, said: Mapping[str, Any]) -> tuple[Options, str]:
        """These options of a decoder's request, and what the encoder's had said, which counts for more.

        Also the format of an answer where neither named one. `said`: of a ticket whose signature is good. Raises
        BadRequest where frames came otherwise than they are to go.
        """
        yuv = YuvFormat(**said["yuv"]) if "yuv" in said else None
        check_agreement(self.yuv, yuv, "the ticket")
        named = {name: said[name] for name in ("seed", "format", "quality", "fps", "priority") if name in said}
        place = Place.of_ticket(said["place"]) if "place" in said else None
        return replace(self, place=place, yuv=yuv, **named), str(said["answer"])


@dataclass(frozen=True)
class Rendering:
    """How the frames of an answer are encoded."""

    format: str
    """one of CONTENT_TYPES"""
    quality: int | None
    fps: str | None
    place: Place | None = None
    """of the frames in a region, where that is the format"""
    yuv: YuvFormat | None = None
    """of frames as planes; None: RGB"""


def rendering(options: Options, default_format: str, stream: bool) -> Rendering:
    """How to encode what `options` ask for; frame by frame where it is a stream. Raises BadRequest."""
    single = "png" if stream and default_format in ("mp4", "zip") else default_format
    format = options.format or single
    if format == "region" and options.place is None:
        raise BadRequest("format is region, but the request describes no region with room for the answer")
    if options.yuv and format not in ("npy", "region"):
        raise BadRequest(f"layout is i420, which {format} does not hold: ask for npy, or a region")
    return Rendering(format, options.quality, options.fps, options.place, options.yuv)


def check_agreement(asked: YuvFormat | None, told: YuvFormat | None, who: str) -> None:
    """Raises BadRequest where the options ask for planes, and `who` tells of other ones, or of RGB."""
    if asked and asked != told:
        raise BadRequest(f"layout is i420 ({asked}), but {who} says {f'i420 ({told})' if told else 'rgb24'}")


def read_options(fields: Mapping[str, object], headers: Mapping[str, str]) -> Options:
    """Options of a request; `headers` by lower-case name.

    Raises BadRequest naming the option and what it may be.
    """
    by_header = {name: f"x-eden-{name.replace('_', '-')}" for name in FIELDS}
    said = {name: headers[header] for name, header in by_header.items() if header in headers}
    said |= {name: as_text(name, fields[name]) for name in FIELDS if name in fields}
    if "format" not in said and (accepted := _accepted(headers.get("accept", "*/*"))):
        said["format"] = accepted
    return Options(
        seed=_whole("seed", said["seed"], 0, 2**63 - 1) if "seed" in said else None,
        format=_format(said["format"]) if "format" in said else None,
        quality=_whole("quality", said["quality"], 1, 100) if "quality" in said else None,
        fps=_rate(said["fps"]) if "fps" in said else None,
        stream=_truth("stream", said.get("stream", "0")),
        yuv=_yuv(said),
        deadline_ms=_whole("deadline_ms", said["deadline_ms"], 1, LATEST_MS) if "deadline_ms" in said else None,
        priority=_one_of("priority", said["priority"], PRIORITIES) if "priority" in said else None,
        spans=_truth("spans", said.get("spans", "0")),
    )


def _yuv(said: Mapping[str, str]) -> YuvFormat | None:
    layout: FrameLayout = _one_of("layout", said.get("layout", "rgb24"), get_args(FrameLayout))
    matrix: Matrix = _one_of("matrix", said.get("matrix", "bt709"), get_args(Matrix))
    range: Range = _one_of("range", said.get("range", "limited"), get_args(Range))
    if layout == "i420":
        return YuvFormat(matrix, range)
    if named := [name for name in ("matrix", "range") if name in said]:
        raise BadRequest(f"{named[0]} is {shown(said[named[0]])}, but the layout is {layout}: it goes with i420")
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
    """A video's own rate, as the option fps says it: the nearest that can be had. It is an average, and may be odd.

    Raises BadRequest where it is too high or too low.
    """
    if not SLOWEST <= rate <= FASTEST:
        raise BadRequest(f"the video states {float(rate):g} frames a second: name its fps, {_BOUNDS}")
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
    """The format an Accept header prefers, None where it leaves the choice to us."""
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
