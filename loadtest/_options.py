"""The options of a load test, by command line or environment variables; each has a default that works."""

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
"""URL paths that answer a clip with the frames between, by the name that --route has for them."""
SHAPES = ("none", "steps", "spike", "soak")


def add_options(parser: Any) -> None:
    """Add the options to Locust's parser and web interface.

    The variable for --frame-size is EDEN_FRAME_SIZE, and so on.
    """

    def add(option: str, **how: Any) -> None:
        parser.add_argument(option, env_var="EDEN_" + option.removeprefix("--").replace("-", "_").upper(), **how)

    add("--frame-size", default="256x448", help="height x width of the frames")
    add("--clip", type=int, default=4, help="frames per clip (BatchUser, MixedUser, ChainUser, FusedUser, GrpcUser)")
    add(
        "--route",
        choices=tuple(ROUTES),
        default="workflow",
        help="how pairs and clips are sent: by the workflow, or to the fused model, which holds encoder and decoder",
    )
    add(
        "--rate",
        type=float,
        default=2.0,
        help="pairs per second of each camera (StreamingUser, MixedUser); 0: the next pair as soon as one is answered",
    )
    add(
        "--deadline",
        type=float,
        default=0.0,
        help="seconds after which a camera's pair is late; 0: one period of --rate",
    )
    add("--send", choices=SENT_AS, default="png", help="format in which frames are sent")
    add("--answer", choices=ANSWERS, default="png", help="format of the answer (several pictures come as a zip)")
    add("--mix", default="3:1", help="MixedUser: ratio of pairs to clips")
    add(
        "--film-frames",
        type=int,
        default=32,
        help="different frames that each process prepares; at least twice --clip",
    )
    add(
        "--check-every",
        type=int,
        default=20,
        help="N: compare every N-th answer to a user with its reference; 0: none",
    )
    add("--failure-pause", type=float, default=0.25, help="seconds that a user waits after a request that failed")
    add(
        "--key-file",
        default="",
        help="TorchServe's key_file.json (default: the server's, if that was started from the current folder)",
    )
    add(
        "--management",
        default="",
        help="the management address, where tokens are renewed (default: that of the server that wrote the key file)",
    )
    add("--token", default="", is_secret=True, help="an inference token, instead of a key file")
    add("--grpc", default="127.0.0.1:7070", help="GrpcUser: host:port of TorchServe's gRPC inference")
    add(
        "--shape",
        choices=SHAPES,
        default="none",
        help="steps: more users until throughput stops growing; spike: -u users, --spike-users, -u again; soak: -u "
        "users "
        "for -t; none: Locust's -u, -r and -t",
    )
    add("--steps", default="1,2,4,8,16,32,64", help="users in each step of --shape steps")
    add(
        "--phase-seconds",
        type=float,
        default=20.0,
        help="seconds over which a step, a spike or one line of a soak is measured",
    )
    add("--settle-seconds", type=float, default=5.0, help="seconds before each measurement that are not measured")
    add(
        "--gain",
        type=float,
        default=0.05,
        help="end the steps after two that each raise throughput by less than this fraction",
    )
    add("--spike-users", type=int, default=32, help="users during the spike")
    add("--enough", type=int, default=0, help="N: end once N frames have arrived, even before -t is over; 0: never")
    add("--phases-file", default="", help="file to which a shape writes its measurements, one JSON object per line")


@dataclass(frozen=True)
class Asked:
    """The parsed options that define a request."""

    size: tuple[int, int]
    clip: int
    send: str
    answer: str
    film_frames: int
    route: str = "workflow"

    @classmethod
    def of(cls, options: argparse.Namespace) -> Asked:
        """From Locust's options. Raises ValueError, which names the invalid option."""
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
        """The URL path to which pairs and clips are sent."""
        return ROUTES[self.route]

    @property
    def streamed(self) -> str:
        """The format of a streamed answer: a video cannot be sent frame by frame."""
        return "png" if self.answer == "mp4" else self.answer


def parsed(environment: Environment) -> argparse.Namespace:
    """Locust's options, once it has parsed them."""
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
