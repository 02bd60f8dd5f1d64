"""What a load test can be told, on the command line or by environment variables; each has a default that runs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest._film import SENT_AS

PROJECT = Path(__file__).resolve().parent.parent
ANSWERS = ("png", "jpeg", "webp", "npy", "mp4")
SHAPES = ("none", "steps", "spike", "soak")


def add_options(parser: Any) -> None:
    """Add them to Locust's parser; they show up in its web interface too."""
    add = parser.add_argument
    add("--frame-size", env_var="EDEN_FRAME_SIZE", default="256x448", help="height x width of the frames")
    add(
        "--clip",
        env_var="EDEN_CLIP",
        type=int,
        default=4,
        help="frames in a clip (BatchUser, MixedUser, ChainUser, GrpcUser)",
    )
    add(
        "--rate",
        env_var="EDEN_RATE",
        type=float,
        default=2.0,
        help="pairs a second of each camera (StreamingUser, MixedUser); 0: as fast as answered",
    )
    add(
        "--deadline",
        env_var="EDEN_DEADLINE",
        type=float,
        default=0.0,
        help="seconds after which a camera's pair is late; 0: one period",
    )
    add("--send", env_var="EDEN_SEND", choices=SENT_AS, default="png", help="how frames are sent")
    add(
        "--answer",
        env_var="EDEN_ANSWER",
        choices=ANSWERS,
        default="png",
        help="the answer's format (several pictures: a zip of them)",
    )
    add("--mix", env_var="EDEN_MIX", default="3:1", help="MixedUser: pairs to clips")
    add(
        "--film-frames",
        env_var="EDEN_FILM_FRAMES",
        type=int,
        default=32,
        help="frames that each process prepares, all different; at least twice --clip are",
    )
    add(
        "--check-every",
        env_var="EDEN_CHECK_EVERY",
        type=int,
        default=20,
        help="compare every so many-th answer of a user with its reference; 0: none",
    )
    add(
        "--busy-pause",
        env_var="EDEN_BUSY_PAUSE",
        type=float,
        default=0.25,
        help="seconds that a refused user waits before its next request",
    )
    add(
        "--key-file",
        env_var="EDEN_KEY_FILE",
        default="",
        help="TorchServe's key_file.json (default: that of `make serve`, or of a plain start)",
    )
    add("--token", env_var="EDEN_TOKEN", default="", is_secret=True, help="a token, in place of a key file")
    add("--grpc", env_var="EDEN_GRPC", default="127.0.0.1:7070", help="GrpcUser: TorchServe's gRPC inference port")
    add(
        "--shape",
        env_var="EDEN_SHAPE",
        choices=SHAPES,
        default="none",
        help="steps: up to the knee; spike: -u, --spike-users, -u; soak: -u for -t; none: plain -u -r -t",
    )
    add("--steps", env_var="EDEN_STEPS", default="1,2,4,8,16,32,64", help="users of each step")
    add(
        "--phase-seconds",
        env_var="EDEN_PHASE_SECONDS",
        type=float,
        default=20.0,
        help="seconds that a step, a spike or a line of a soak is measured",
    )
    add(
        "--settle-seconds",
        env_var="EDEN_SETTLE_SECONDS",
        type=float,
        default=5.0,
        help="seconds before that, which are not measured",
    )
    add(
        "--gain",
        env_var="EDEN_GAIN",
        type=float,
        default=0.05,
        help="steps end after two that raise throughput by less than this share",
    )
    add("--spike-users", env_var="EDEN_SPIKE_USERS", type=int, default=32, help="users at the spike's height")
    add(
        "--enough",
        env_var="EDEN_ENOUGH",
        type=int,
        default=0,
        help="end once so many frames have come, before -t is over; 0: never",
    )
    add(
        "--phases-file",
        env_var="EDEN_PHASES_FILE",
        default="",
        help="where a shape writes what it measured, a JSON object a line",
    )


@dataclass(frozen=True)
class Asked:
    """The options that say what a request is, read once."""

    size: tuple[int, int]
    clip: int
    send: str
    answer: str
    film_frames: int

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
        )

    @property
    def streamed(self) -> str:
        """The format of a streamed answer: a video cannot come frame by frame."""
        return "png" if self.answer == "mp4" else self.answer


def numbers(text: str, separator: str, option: str) -> tuple[int, int]:
    """Two whole numbers, such as 256x448. Raises ValueError naming the option."""
    try:
        first, second = (int(part) for part in text.split(separator))
    except ValueError:
        raise ValueError(f"{option} {text!r}: expected two whole numbers with {separator!r} between") from None
    return first, second


def key_file(named: str) -> Path | None:
    """The key file to use: the one named, else `make serve`'s, else a plain start's; None where there is none."""
    if named:
        return Path(named)
    usual = PROJECT / "run" / "server" / "key_file.json", PROJECT / "key_file.json"
    return next((path for path in usual if path.exists()), None)
