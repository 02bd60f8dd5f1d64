"""The command line's options."""

from __future__ import annotations

import argparse
import os
import re
from fractions import Fraction
from pathlib import Path

from eden_client.api.open_route import ROUTES
from eden_client.api.transport import TRANSPORTS
from eden_client.film.plan.cuts import SENSITIVITY
from eden_client.film.write.budget import DEFAULT
from eden_client.trace.files import ENDINGS
from media.terms import PRIORITIES

LONGEST_NUMBER = 24
"""Characters that a number of seconds may have."""


def parser() -> argparse.ArgumentParser:
    """The parser of `eden-interpolate`'s arguments, with their help."""
    parser = argparse.ArgumentParser(
        prog="eden-interpolate",
        usage="%(prog)s INPUT OUTPUT [options]",
        description="Raise a film's frame rate: an EDEN server draws the frames between.",
        epilog="Example: eden-interpolate film.mp4 smooth.mp4 --times 4",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    parser.add_argument(
        "input", metavar="INPUT", help="a video, a GIF, a folder of pictures, 'pattern*.png', or - for y4m on a pipe"
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help=".mp4, .mkv, .mov, .webm, .gif, a folder/ or folder/name%%06d.png, or - for y4m",
    )
    _what(parser)
    _picture(parser)
    _file(parser)
    _machine(parser)
    _sending(parser)
    _server(parser)
    _cluster(parser)
    told = parser.add_argument_group("progress and reports")
    told.add_argument(
        "--json", action="store_true", help="print one JSON object at the end: counts, and seconds per stage"
    )
    told.add_argument(
        "--trace",
        type=_trace,
        metavar="FILE",
        help="write how long each step took, on the server too: FILE.html, a page; FILE.json, for trace viewers "
        "(ui.perfetto.dev)",
    )
    how = told.add_mutually_exclusive_group().add_argument
    how("--plain", action="store_true", help="print lines in place of a progress bar")
    how("--json-lines", action="store_true", help="print every event as JSON, one object per line")
    return parser


def _what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("frame rate")
    rate = group.add_mutually_exclusive_group().add_argument
    rate("--times", type=int, choices=(2, 4, 8), default=2, help="output frames per source frame (default: 2)")
    rate("--fps", type=_rate, metavar="RATE", help="a constant output rate, such as 60 or 60000/1001")
    group.add_argument(
        "--depth",
        type=int,
        choices=range(1, 6),
        default=3,
        metavar="N",
        help="with --fps: draw the nearest of the 2^N - 1 evenly spaced frames between two source frames (1 to 5, "
        "default: 3)",
    )


def _picture(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how the source is treated").add_argument
    add(
        "--cuts",
        type=_sensitivity,
        default=SENSITIVITY,
        metavar="off|0..1",
        help="scene cut detection: 0 finds hardly any cut, 1 nearly everywhere; at a cut, frames are repeated, not "
        "interpolated "
        f"(default: {SENSITIVITY})",
    )
    add(
        "--duplicates",
        choices=("keep", "skip", "off"),
        default="keep",
        help="identical neighbouring frames: keep repeats them without asking the server; skip drops them and spreads "
        "the motion over their time; off interpolates them like others (default: keep)",
    )
    add(
        "--source-fps",
        type=_rate,
        metavar="RATE",
        help="INPUT's frame rate, in place of the one that it states (default: the stated one; 24 for pictures)",
    )
    add("--start", type=_seconds, default=Fraction(0), metavar="S", help="skip the first S seconds; without sound")
    add("--duration", type=_seconds, metavar="S", help="use S seconds of INPUT; without sound (default: all)")
    add(
        "--slow",
        type=_positive,
        default=1,
        metavar="N",
        help="show each source frame N times as long; without sound (with --times N: slow motion at INPUT's rate)",
    )
    add(
        "--strict",
        action="store_true",
        help="refuse an INPUT that is damaged or changes its size (default: repeat the frame before the damage, scale "
        "frames to the first size)",
    )
    add(
        "--compare",
        action="store_true",
        help="show repeated, blended and EDEN's frames side by side; OUTPUT is a video or a .png",
    )


def _file(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output file").add_argument
    add(
        "--codec",
        help="h264, hevc, vp9, av1, prores, ffv1 or an FFmpeg encoder, such as h264_nvenc (default: the source's "
        "codec)",
    )
    add(
        "--crf",
        type=int,
        metavar="N",
        help="quality: lower is better and larger (JPEG, WebP: 1 to 100, higher is better)",
    )
    add("--preset", help="the encoder's preset, such as medium: slower presets make smaller files")
    add(
        "--pixel-format",
        metavar="NAME",
        help="FFmpeg's name, such as yuv420p (default: the one that keeps most of the source)",
    )
    add("--resume", action="store_true", help="continue an interrupted run")
    add("--overwrite", action="store_true", help="replace OUTPUT if it exists, and start over")


def _sending(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("requests to the server")
    add = group.add_argument
    add(
        "--strategy",
        choices=("streaming", "batch"),
        default="streaming",
        help="streaming: one pair per call, for the earliest first frame; batch: one clip per call, for fewer calls "
        "(default: streaming)",
    )
    add("--clip", type=_clip, default=16, metavar="FRAMES", help="frames per clip with --strategy batch (default: 16)")
    add("--window", type=_positive, metavar="CALLS", help="calls at once (default: 8 pairs, or 2 clips)")
    way = group.add_mutually_exclusive_group().add_argument
    way(
        "--route",
        choices=ROUTES,
        default="auto",
        metavar="ROUTE",
        help="fused: one model that holds encoder and decoder; workflow: encoder and decoder in one call; chain: one "
        "call to each, frames streamed back; grpc: chain over gRPC, --server is then host:port, or grpcs://host:port "
        "for TLS; auto: fused where the server offers it, else workflow, and chain while that is busy (default: auto)",
    )
    way("--workflow", dest="route", action="store_const", const="workflow", help="short for --route workflow")
    way("--chain", dest="route", action="store_const", const="chain", help="short for --route chain")
    way("--grpc", dest="route", action="store_const", const="grpc", help="short for --route grpc")
    add(
        "--transport",
        choices=TRANSPORTS,
        default="auto",
        help="how frames travel, always lossless. region: in memory shared with a server on this host; npy, png: in "
        "the calls' bodies; auto: region where it works, else npy (default: auto)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="seed of the noise that frames are drawn from; equal seeds give equal frames (default: 0)",
    )
    add(
        "--priority",
        choices=PRIORITIES,
        default="batch",
        help="place in the server's queue: live first, then interactive, then batch (default: batch)",
    )


def _machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("this machine").add_argument
    add(
        "--memory",
        type=_bytes,
        default=DEFAULT,
        metavar="BYTES",
        help="memory for frames and encoders, roughly, such as 8G; more of it lets more segments be made at once "
        "(default: 2G)",
    )
    add(
        "--processes",
        type=_positive,
        metavar="N",
        help="processes that make the film's segments; 1: this process alone (default: by cores and memory)",
    )


def _server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the server").add_argument
    add(
        "--server",
        metavar="URL",
        default=os.environ.get("EDEN_SERVER"),
        help="the server's inference address (default: $EDEN_SERVER, else http://127.0.0.1:8080, or 127.0.0.1:7070 for "
        "gRPC); with --ray also several, separated by commas, which segments use in turn",
    )
    add(
        "--token",
        default=os.environ.get("EDEN_TOKEN"),
        help="the inference token (default: $EDEN_TOKEN, else the one in the key file)",
    )
    add(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="TorchServe's key_file.json; an expired token in it is renewed (default: the server's, if that was "
        "started from the current folder)",
    )
    add(
        "--management",
        metavar="URL",
        help="the management address, where tokens are renewed (default: that of the server that wrote the key file)",
    )
    add(
        "--decoder-server",
        metavar="URL",
        help="a second server, which decodes; needs the route chain (then the default) or grpc",
    )
    add("--decoder-token", metavar="TOKEN", help="the second server's token")
    add("--decoder-key-file", type=Path, metavar="FILE", help="the second server's key file")
    add("--decoder-management", metavar="URL", help="the second server's management address")
    add(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates (PEM) of the authorities to trust, for https:// and grpcs:// servers (default: "
        "$REQUESTS_CA_BUNDLE or $SSL_CERT_FILE, else certifi's)",
    )
    add(
        "--timeout",
        type=float,
        default=300,
        metavar="S",
        help="seconds without a byte after which a call counts as lost (default: 300)",
    )
    add(
        "--patience",
        type=float,
        default=120,
        metavar="S",
        help="seconds to wait for a server that is away, or busy, after it or its gateway answered (default: 120)",
    )
    add(
        "--wait-for-server",
        action="store_true",
        help="wait --patience seconds also for a server that never answered yet",
    )


def _cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("Ray cluster (docs/ray.md)").add_argument
    add(
        "--ray",
        metavar="auto|ADDRESS",
        help="have the nodes of a Ray cluster make the film's segments. auto: the cluster that this machine is part "
        "of; ADDRESS: its head's host:port. INPUT may then be a folder of films, and OUTPUT a folder for the results. "
        "A node calls the server that EDEN_SERVER names on it (with EDEN_TOKEN, EDEN_KEY_FILE), else --server",
    )
    add(
        "--ray-source",
        metavar="PLACE",
        help="a folder, or an address for fsspec (s3://bucket/films), where every node finds a file of INPUT's name "
        "(default: each segment is sent with its part of INPUT)",
    )
    add(
        "--engine", metavar="PATH", help="with --ray: use no server; each GPU of the cluster draws with this checkpoint"
    )
    add(
        "--engine-precision",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="arithmetic of --engine (default: fp32)",
    )


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate from 0 to 1000, such as 60 or 60000/1001")
    return rate


def _seconds(text: str) -> Fraction:
    try:
        seconds = Fraction(text) if len(text) <= LONGEST_NUMBER and "e" not in text.lower() else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text[:LONGEST_NUMBER]!r} is not a number of seconds, such as 3 or 0.5")
    return seconds


def _sensitivity(text: str) -> float | None:
    if text == "off":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither off nor a number from 0 to 1")
    return value


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 8G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _trace(text: str) -> Path:
    if (path := Path(text)).suffix not in ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(ENDINGS)}")
    return path


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _clip(text: str) -> int:
    if _positive(text) < 2:
        raise argparse.ArgumentTypeError("a clip has at least two frames")
    return int(text)
