"""What goes over HTTP, as types: they validate what comes in, and the OpenAPI document is made of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
State = Literal["ready", "starting", "draining", "away"]
Seconds = Annotated[float, Meta(ge=0, le=1_000_000)]
Rate = Annotated[
    str,
    Meta(
        pattern=r"^([1-9][0-9]{0,2}(\.[0-9]{1,3})?|(24000|30000|48000|60000|120000)/1001)$",
        description="frames per second, such as 60 or 60000/1001",
        examples=["60"],
    ),
]


class Options(Struct, forbid_unknown_fields=True, frozen=True):
    """How a film is to be made. What is left out is as by the command eden-interpolate."""

    times: Annotated[Literal[2, 4, 8] | None, Meta(description="frames for each one of the film; 2 by default")] = None
    fps: Annotated[Rate | None, Meta(description="a constant rate, in place of `times`")] = None
    slow_motion: Annotated[
        Literal[2, 4, 8] | None,
        Meta(description="as many times longer, without sound; with neither `times` nor `fps` at the film's own rate"),
    ] = None
    preset: Annotated[
        Literal["film", "animation"],
        Meta(description="animation: repeated drawings are left out, and the motion spread over their time"),
    ] = "film"
    format: Literal["mp4", "mkv", "mov", "webm", "gif"] = "mp4"
    codec: Annotated[
        Literal["h264", "hevc", "vp9", "av1"] | None, Meta(description="by default the film's own kind, where it fits")
    ] = None
    quality: Annotated[
        Literal["smaller", "standard", "better"],
        Meta(description="other than standard: of the codec that is named, else of h264 (webm: vp9); not of a GIF"),
    ] = "standard"
    start: Annotated[Seconds, Meta(description="seconds that are left out at the beginning, and the sound")] = 0
    duration: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000)] | None, Meta(description="seconds that are made, without sound")
    ] = None


class NewVideo(Struct, forbid_unknown_fields=True):
    """A film to be made from an upload that is complete."""

    upload: Id
    options: Options = Options()


class Change(Struct, forbid_unknown_fields=True):
    """What is to become of a video; several at once are done in this order."""

    paused: Annotated[bool | UnsetType, Meta(description="true: not made for now; false: made when its turn comes")] = (
        UNSET
    )
    position: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType, Meta(description="its place in the queue, from 0 on")
    ] = UNSET
    status: Annotated[
        Literal["queued", "cancelled"] | UnsetType,
        Meta(description="cancelled: end it; queued: go on with what is cancelled or failed"),
    ] = UNSET


class Video(Struct):
    """A film that is made, is to be made, or was."""

    id: Id
    name: Annotated[str, Meta(description="as the visitor called the file: any text")]
    upload: Id
    options: Options
    status: Status
    paused: bool
    position: Annotated[int | None, Meta(description="in the queue, from 0 on; null where it does not wait")]
    progress: Annotated[int, Meta(ge=0, le=100)]
    frames: Annotated[int, Meta(ge=0, description="that are done")]
    expected_frames: int | None
    frames_per_second: Annotated[float | None, Meta(description="of the result, made per second of this run")]
    eta_s: Annotated[float | None, Meta(description="seconds until it is done")]
    limited_by: Annotated[str | None, Meta(description="what bounds the speed: reading, server or encoding")]
    segments: Annotated[int, Meta(ge=0, description="of its stream that can be seen already")]
    error: Annotated[str | None, Meta(description="why it failed")]
    notes: list[str]
    bytes: Annotated[int | None, Meta(description="of what /content gives: all of it, or the finished part")]
    created_at: float
    started_at: float | None
    ended_at: float | None
    object: Literal["video"] = "video"


class VideoPage(Struct):
    """Videos, the latest first."""

    data: list[Video]
    next_cursor: Annotated[int | None, Meta(description="`cursor` of the page after this one; null: it was the last")]
    object: Literal["list"] = "list"


class Segment(Struct):
    """A part of a stream, which begins with a key frame."""

    url: str
    start_s: Annotated[float, Meta(ge=0, description="from the first picture on")]
    duration_s: Annotated[float, Meta(ge=0)]


class Stream(Struct):
    """A video's pictures as fragmented MP4, as far as they are finished; without sound."""

    mime: Annotated[str | None, Meta(description="for MediaSource; null: nothing is finished, or no browser plays it")]
    playable: Annotated[bool, Meta(description="false: no browser plays what it is coded with, see `reason`")]
    reason: str | None
    init: Annotated[str, Meta(description="what is to be appended before the first segment: its URL")]
    segments: list[Segment]
    complete: Annotated[bool, Meta(description="false: more may come")]
    object: Literal["stream"] = "stream"


class Film(Struct):
    """What an upload turns out to be."""

    name: Annotated[str, Meta(description="as the visitor called the file: any text")]
    width: Annotated[int, Meta(ge=1, description="of its pictures as they are shown, upright")]
    height: Annotated[int, Meta(ge=1)]
    pixel_aspect: Annotated[float, Meta(gt=0, description="width of a pixel by its height")]
    rate: Annotated[float, Meta(gt=0, description="pictures per second, on average")]
    duration_s: float | None
    frames: Annotated[int | None, Meta(description="about how many pictures, where the file states it")]
    media_type: str
    playable: Annotated[bool, Meta(description="whether every browser plays it as it is, with its sound")]


class Cuts(Struct):
    """Where scenes of an upload begin, in seconds: frames between the pictures on both sides are not drawn."""

    cuts: list[float]
    scanned_s: Annotated[float, Meta(description="how far the film has been looked through")]
    complete: Annotated[bool, Meta(description="false: more may be found, ask again")]


class Pair(Struct):
    """The picture that is shown at a time, and the one after it."""

    first_s: float
    second_s: float
    cut: Annotated[bool | None, Meta(description="whether a scene begins in between; null: not looked through yet")]


class Model(Struct):
    """A model of the EDEN server, with its workers."""

    name: str
    workers: int
    workers_ready: int
    waiting: Annotated[int, Meta(ge=0, description="requests in its queue")]


class ServerStatus(Struct):
    """What the EDEN server does that draws the frames."""

    server: Annotated[str, Meta(description="its address")]
    status: Annotated[State, Meta(description="ready: calls are served; away: nobody answers")]
    message: Annotated[str, Meta(description="what a person should know and do, in words")]
    models: Annotated[list[Model] | None, Meta(description="null: only of a server of this machine is it known")]
    pairs_per_second: Annotated[float | None, Meta(description="drawn for all callers, lately; null: not known")]
    trouble: Annotated[list[str], Meta(description="what went wrong with the last calls, the latest first")]
    videos_waiting: int
    videos_in_progress: int
    object: Literal["server"] = "server"


class Login(Struct, forbid_unknown_fields=True):
    """What a browser shows for a session."""

    token: Annotated[str, Meta(max_length=1000)]


class Problem(Struct):
    """Why a request was refused."""

    code: int
    type: str
    message: str
