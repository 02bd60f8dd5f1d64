"""The types of the HTTP API: they validate requests, and the OpenAPI document is made from them."""

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
    """How a film is to be made. Missing options are as eden-interpolate's defaults."""

    times: Annotated[Literal[2, 4, 8] | None, Meta(description="output frames per source frame; default 2")] = None
    fps: Annotated[Rate | None, Meta(description="a constant output rate, in place of `times`")] = None
    slow_motion: Annotated[
        Literal[2, 4, 8] | None,
        Meta(description="so many times longer, without sound; without `times` and `fps` at the film's own rate"),
    ] = None
    preset: Annotated[
        Literal["film", "animation"],
        Meta(description="animation: repeated drawings are dropped, and the motion is spread over their time"),
    ] = "film"
    format: Literal["mp4", "mkv", "mov", "webm", "gif"] = "mp4"
    codec: Annotated[
        Literal["h264", "hevc", "vp9", "av1"] | None,
        Meta(description="default: the film's own codec if `format` can hold it"),
    ] = None
    quality: Annotated[
        Literal["smaller", "standard", "better"],
        Meta(description="if not standard, `codec` defaults to h264 (webm: vp9); not for a GIF"),
    ] = "standard"
    start: Annotated[Seconds, Meta(description="skip the first seconds; then without sound")] = 0
    duration: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000)] | None,
        Meta(description="seconds of the film to use; then without sound"),
    ] = None


class NewVideo(Struct, forbid_unknown_fields=True):
    """A video to be made from a complete upload."""

    upload: Id
    options: Options = Options()


class Change(Struct, forbid_unknown_fields=True):
    """Changes to a video; several are applied in this order."""

    paused: Annotated[
        bool | UnsetType, Meta(description="true: do not make it for now; false: make it in its turn")
    ] = UNSET
    position: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType, Meta(description="its place in the queue, from 0 on")
    ] = UNSET
    status: Annotated[
        Literal["queued", "cancelled"] | UnsetType,
        Meta(description="cancelled: cancel it; queued: retry one that was cancelled or failed"),
    ] = UNSET


class Video(Struct):
    """A film that waits, is being made, or has ended."""

    id: Id
    name: Annotated[str, Meta(description="the file's name as the visitor sent it: any text")]
    upload: Id
    options: Options
    status: Status
    paused: bool
    position: Annotated[int | None, Meta(description="place in the queue, from 0 on; null if it does not wait")]
    progress: Annotated[int, Meta(ge=0, le=100)]
    frames: Annotated[int, Meta(ge=0, description="frames that are finished")]
    expected_frames: int | None
    frames_per_second: Annotated[
        float | None, Meta(description="output frames per second in this run; null until a frame is drawn")
    ]
    eta_s: Annotated[
        float | None, Meta(description="expected seconds until it is completed; null until a frame is drawn")
    ]
    limited_by: Annotated[str | None, Meta(description="what bounds the speed: reading, server or encoding")]
    segments: Annotated[int, Meta(ge=0, description="finished segments of its stream")]
    error: Annotated[str | None, Meta(description="why it failed")]
    notes: list[str]
    bytes: Annotated[
        int | None, Meta(description="size of /content: the result, or the finished part; null: nothing yet")
    ]
    created_at: float
    started_at: float | None
    ended_at: float | None
    object: Literal["video"] = "video"


class VideoPage(Struct):
    """Videos, the latest first."""

    data: list[Video]
    next_cursor: Annotated[int | None, Meta(description="`cursor` for the next page; null: this is the last one")]
    object: Literal["list"] = "list"


class Segment(Struct):
    """A part of a stream, which begins with a key frame."""

    url: str
    start_s: Annotated[float, Meta(ge=0, description="seconds from the first picture")]
    duration_s: Annotated[float, Meta(ge=0)]


class Stream(Struct):
    """The finished part of a video as fragmented MP4, without sound."""

    mime: Annotated[
        str | None, Meta(description="for MediaSource; null: nothing is finished, or no browser can play it")
    ]
    playable: Annotated[bool, Meta(description="false: no browser can play its codec, see `reason`")]
    reason: str | None
    init: Annotated[str, Meta(description="URL of the initialisation segment, to be appended first")]
    segments: list[Segment]
    complete: Annotated[bool, Meta(description="false: more may come")]
    object: Literal["stream"] = "stream"


class Film(Struct):
    """The film in an upload."""

    name: Annotated[str, Meta(description="the file's name as the visitor sent it: any text")]
    width: Annotated[int, Meta(ge=1, description="pixels of its pictures, rotated as they are shown")]
    height: Annotated[int, Meta(ge=1)]
    pixel_aspect: Annotated[float, Meta(gt=0, description="width of a pixel divided by its height")]
    rate: Annotated[float, Meta(gt=0, description="pictures per second, on average")]
    duration_s: float | None
    frames: Annotated[int | None, Meta(description="about how many pictures; null: not stated in the file")]
    media_type: str
    playable: Annotated[bool, Meta(description="whether every browser can play the file, with its sound")]


class Cuts(Struct):
    """The scene cuts of an upload, in seconds: no frames are drawn across them."""

    cuts: list[float]
    scanned_s: Annotated[float, Meta(description="seconds of the film that have been searched")]
    complete: Annotated[bool, Meta(description="false: the search goes on, ask again")]


class Pair(Struct):
    """The picture that is shown at a time, and the one after it."""

    first_s: float
    second_s: float
    cut: Annotated[bool | None, Meta(description="whether there is a scene cut in between; null: not known yet")]


class Model(Struct):
    """A model of the EDEN server, with its workers."""

    name: str
    workers: int
    workers_ready: int
    waiting: Annotated[int, Meta(ge=0, description="requests in its queue")]


class ServerStatus(Struct):
    """The state of the EDEN server, which draws the frames."""

    server: Annotated[str, Meta(description="its address")]
    status: Annotated[State, Meta(description="ready: it serves calls; away: it does not answer")]
    message: Annotated[str, Meta(description="the state and what to do about it, in words")]
    models: Annotated[list[Model] | None, Meta(description="null: not known, as the server is on another machine")]
    pairs_per_second: Annotated[float | None, Meta(description="recent rate, for all callers; null: not known")]
    trouble: Annotated[list[str], Meta(description="errors of the last calls, the latest first")]
    videos_waiting: int
    videos_in_progress: int
    object: Literal["server"] = "server"


class Login(Struct, forbid_unknown_fields=True):
    """What a browser sends to begin a session."""

    token: Annotated[str, Meta(max_length=1000)]


class Problem(Struct):
    """Why a request was refused."""

    code: int
    type: str
    message: str
