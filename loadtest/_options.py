"""What a load test can be told, on the command line or by environment variables; each has a default that runs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eden_client.api.routes import FUSED_PATH, WORKFLOW_PATH
from loadtest._film import SENT_AS

if TYPE_CHECKING:  # Locust changes what Python's own modules do
    from locust.env import Environment

PROJECT = Path(__file__).resolve().parent.parent
ANSWERS = ("png", "jpeg", "webp", "npy", "mp4")
ROUTES = {"workflow": WORKFLOW_PATH, "fused": FUSED_PATH}
"""Where a clip is answered with the frames between, by what `--route` calls it."""
SHAPES = ("none", "steps", "spike", "soak")


def add_options(parser: Any) -> None:
    """Add them to Locust's parser and web interface; the variable of --frame-size is EDEN_FRAME_SIZE, and so on."""

    def add(option: str, **how: Any) -> None:
        parser.add_argument(option, env_var="EDEN_" + option.removeprefix("--").replace("-", "_").upper(), **how)

    add("--frame-size", default="256x448", help="height x width of the frames")
    add("--clip", type=int, default=4, help="frames in a clip (BatchUser, MixedUser, ChainUser, FusedUser, GrpcUser)")
    add(
        "--route",
        choices=tuple(ROUTES),
        default="workflow",
        help="of pairs and clips: the workflow, or the model that holds both halves",
    )
    add(
        "--rate",
        type=float,
        default=2.0,
        help="pairs a second of each camera (StreamingUser, MixedUser); 0: as fast as answered",
    )
    add("--deadline", type=float, default=0.0, help="seconds after which a camera's pair is late; 0: one period")
    add("--send", choices=SENT_AS, default="png", help="how frames are sent")
    add("--answer", choices=ANSWERS, default="png", help="the answer's format (several pictures: a zip of them)")
    add("--mix", default="3:1", help="MixedUser: pairs to clips")
    add(
        "--film-frames",
        type=int,
        default=32,
        help="frames that each process prepares, all different; at least twice --clip are",
    )
    add(
        "--check-every",
        type=int,
        default=20,
        help="compare every so many-th answer of a user with its reference; 0: none",
    )
    add("--failure-pause", type=float, default=0.25, help="seconds that a user waits after a request that failed")
    add(
        "--key-file",
        default="",
        help="TorchServe's key_file.json (default: that of the server, if it was started from this folder)",
    )
    add(
        "--management",
        default="",
        help="where tokens are renewed (default: the management address of the server that wrote the key file)",
    )
    add("--token", default="", is_secret=True, help="a token, in place of a key file")
    add("--grpc", default="127.0.0.1:7070", help="GrpcUser: TorchServe's gRPC inference port")
    add(
        "--shape",
        choices=SHAPES,
        default="none",
        help="steps: up to the knee; spike: -u, --spike-users, -u; soak: -u for -t; none: plain -u -r -t",
    )
    add("--steps", default="1,2,4,8,16,32,64", help="users of each step")
    add(
        "--phase-seconds", type=float, default=20.0, help="seconds that a step, a spike or a line of a soak is measured"
    )
    add("--settle-seconds", type=float, default=5.0, help="seconds before that, which are not measured")
    add("--gain", type=float, default=0.05, help="steps end after two that raise throughput by less than this share")
    add("--spike-users", type=int, default=32, help="users at the spike's height")
    add("--enough", type=int, default=0, help="end once so many frames have come, before -t is over; 0: never")
    add("--phases-file", default="", help="where a shape writes what it measured, a JSON object a line")


@dataclass(frozen=True)
class Asked:
    """The options that say what a request is, read once."""

    size: tuple[int, int]
    clip: int
    send: str
    answer: str
    film_frames: int
    route: str = "workflow"

    @classmethod
    def of(cls, options: argparse.Namespace) -> Asked:
        """Raises ValueError naming the option that makes no sense."""
        if options.clip < 2:
            raise ValueError(f"--clip {options.clip}: a clip has at least 2 frames")
        if options.rate < 0:
            raise ValueError(f"--rate {options.rate}: cannot be negative")
        return cls(
            size=numbers(options.frame_size, "x", "--frame-size"),
            clip=options.clip,
            send=options.send,
            answer=options.answer,
            film_frames=max(options.film_frames, 2 * options.clip),
            route=options.route,
        )

    @property
    def path(self) -> str:
        """Where pairs and clips are sent."""
        return ROUTES[self.route]

    @property
    def streamed(self) -> str:
        """The format of a streamed answer: a video cannot come frame by frame."""
        return "png" if self.answer == "mp4" else self.answer


def parsed(environment: Environment) -> argparse.Namespace:
    """What Locust was told, once it has read it."""
    options: argparse.Namespace | None = environment.parsed_options
    assert options is not None
    return options


def numbers(text: str, separator: str, option: str) -> tuple[int, int]:
    """Two whole numbers, such as 256x448. Raises ValueError naming the option."""
    try:
        first, second = (int(part) for part in text.split(separator))
    except ValueError:
        raise ValueError(f"{option} {text!r}: expected two whole numbers with {separator!r} between") from None
    return first, second
