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
"""Characters of a number of seconds."""


def parser() -> argparse.ArgumentParser:
    """What the command takes, with its help."""
    parser = argparse.ArgumentParser(
        prog="eden-interpolate",
        usage="%(prog)s INPUT OUTPUT [options]",
        description="Make a film smoother: frames in between, drawn by an EDEN server.",
        epilog="Example: eden-interpolate film.mp4 smooth.mp4 --times 4",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    parser.add_argument(
        "input", metavar="INPUT", help="a video or GIF, a folder or 'pattern*.png' of pictures, or - for y4m on a pipe"
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help=".mp4, .mkv, .mov, .webm, .gif, a folder/ or folder/name%%06d.png, or - for y4m",
    )
    _what(parser)
    _picture(parser)
    _file(parser)
    _sending(parser)
    _server(parser)
    _cluster(parser)
    told = parser.add_argument_group("what is told")
    told.add_argument("--json", action="store_true", help="a JSON object with counts and seconds by stage at the end")
    told.add_argument(
        "--trace",
        type=_trace,
        metavar="FILE",
        help="how long each step took, the server's too: .html, a page; .json, for trace viewers (ui.perfetto.dev)",
    )
    how = told.add_mutually_exclusive_group().add_argument
    how("--plain", action="store_true", help="lines in place of a bar")
    how("--json-lines", action="store_true", help="all that happens as JSON on standard output, an object a line")
    return parser


def _what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to make")
    rate = group.add_mutually_exclusive_group().add_argument
    rate("--times", type=int, choices=(2, 4, 8), default=2, help="frames for each one of the source (default: 2)")
    rate("--fps", type=_rate, metavar="RATE", help="a constant rate, such as 60 or 60000/1001")
    group.add_argument(
        "--depth",
        type=int,
        choices=range(1, 6),
        default=3,
        metavar="N",
        help="with --fps: the nearest of 2^N places between two frames of the source (default: 3)",
    )


def _picture(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to make of the pictures").add_argument
    add(
        "--cuts",
        type=_sensitivity,
        default=SENSITIVITY,
        metavar="off|0..1",
        help=f"how readily a scene cut is seen, at which frames are repeated, not smeared (default: {SENSITIVITY})",
    )
    add(
        "--duplicates",
        choices=("keep", "skip", "off"),
        default="keep",
        help="identical neighbours: keep repeats them unsent; skip spreads the motion over their time (default: keep)",
    )
    add(
        "--source-fps",
        type=_rate,
        metavar="RATE",
        help="of INPUT, in place of what it states (default for a folder of pictures, which states none: 24)",
    )
    add(
        "--start", type=_seconds, default=Fraction(0), metavar="S", help="leave out so many seconds at first, and sound"
    )
    add("--duration", type=_seconds, metavar="S", help="make so many seconds of INPUT, without sound (default: all)")
    add(
        "--slow",
        type=_positive,
        default=1,
        metavar="N",
        help="show each picture of INPUT N times as long, without sound: with --times N, slow motion at INPUT's rate",
    )
    add(
        "--strict",
        action="store_true",
        help="refuse an INPUT that is damaged or changes its size; by default the picture before is held, or scaled",
    )
    add("--compare", action="store_true", help="repeated, blended and EDEN side by side; OUTPUT a video or a .png")


def _file(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the file").add_argument
    add(
        "--codec",
        help="h264, hevc, vp9, av1, prores, ffv1 or an FFmpeg encoder, such as h264_nvenc (default: the source's kind)",
    )
    add("--crf", type=int, metavar="N", help="quality: lower is better and larger (JPEG, WebP: 1 to 100, higher is)")
    add("--preset", help="the encoder's own: slower is smaller")
    add("--pixel-format", metavar="NAME", help="FFmpeg's name (default: what keeps most of the source)")
    add("--resume", action="store_true", help="go on where an interrupted run stopped")
    add("--overwrite", action="store_true", help="replace OUTPUT, and start over")


def _sending(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is sent")
    add = group.add_argument
    add(
        "--strategy",
        choices=("streaming", "batch"),
        default="streaming",
        help="streaming: pair by pair, the first frame soonest; batch: clips, fewer calls (default: streaming)",
    )
    add("--clip", type=_clip, default=16, metavar="FRAMES", help="frames of a clip in a batch (default: 16)")
    add(
        "--memory",
        type=_bytes,
        default=DEFAULT,
        metavar="BYTES",
        help="what the film's pictures and their encoders may take, about, such as 8G: more segments at once "
        "(default: 2G)",
    )
    add(
        "--processes",
        type=_positive,
        metavar="N",
        help="that make segments of the film; 1: all is done by this one (default: by cores and memory)",
    )
    add("--window", type=_positive, metavar="CALLS", help="calls side by side (default: 8 pairs, or 2 clips)")
    way = group.add_mutually_exclusive_group().add_argument
    way(
        "--route",
        choices=ROUTES,
        default="auto",
        metavar="ROUTE",
        help="fused: one model that holds encoder and decoder; workflow: one call for the two of them; chain: the two "
        "called in turn, frames streamed back; grpc: the same over gRPC, --server is then host:port, or "
        "grpcs://host:port for TLS; auto: fused where the server offers it, else workflow (default: auto)",
    )
    way("--workflow", dest="route", action="store_const", const="workflow", help="short for --route workflow")
    way("--chain", dest="route", action="store_const", const="chain", help="short for --route chain")
    way("--grpc", dest="route", action="store_const", const="grpc", help="short for --route grpc")
    add(
        "--transport",
        choices=TRANSPORTS,
        default="auto",
        help="region: in memory shared with a server of this host; npy, png: in bodies; all are lossless; auto: region "
        "where it works, else npy (default: auto)",
    )
    add("--seed", type=int, default=0, help="of the noise that frames are made from (default: 0)")
    add(
        "--priority",
        choices=PRIORITIES,
        default="batch",
        help="who is served first of those that wait for the server (default: batch, behind all others)",
    )


def _server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the server").add_argument
    add(
        "--server",
        metavar="URL",
        default=os.environ.get("EDEN_SERVER"),
        help="default: $EDEN_SERVER, else http://127.0.0.1:8080, by the route grpc 127.0.0.1:7070; with --ray several, "
        "separated by commas, of which segments take one in turn",
    )
    add("--token", default=os.environ.get("EDEN_TOKEN"), help="default: $EDEN_TOKEN, else the key file's")
    add(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="TorchServe's key_file.json; its token is renewed as needed (default: that of the server, if it was "
        "started from this folder)",
    )
    add(
        "--management",
        metavar="URL",
        help="where tokens are renewed (default: the management address of the server that wrote the key file)",
    )
    add(
        "--decoder-server",
        metavar="URL",
        help="a second server for the decoder; by the route chain or grpc (default: chain)",
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
    add("--timeout", type=float, default=300, metavar="S", help="seconds without an answer, at most (default: 300)")
    add(
        "--patience",
        type=float,
        default=120,
        metavar="S",
        help="seconds it may be away once it, or its gateway, answered (default: 120)",
    )
    add("--wait-for-server", action="store_true", help="with that patience from the start: it may not be there yet")


def _cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("a cluster (docs/ray.md)").add_argument
    add(
        "--ray",
        metavar="auto|ADDRESS",
        help="have the nodes of a Ray cluster make the film's segments: of the one that this machine is part of, or "
        "by its head's host:port; INPUT may then be a folder of films, and OUTPUT a folder for theirs. A node asks the "
        "server that EDEN_SERVER names there (EDEN_TOKEN, EDEN_KEY_FILE), else --server",
    )
    add(
        "--ray-source",
        metavar="PLACE",
        help="a folder, or an address for fsspec (s3://bucket/films), in which every node finds INPUT by its name "
        "(default: what a segment needs of it travels with it)",
    )
    add("--engine", metavar="PATH", help="with --ray: no server, each GPU of the cluster draws with this checkpoint")
    add(
        "--engine-precision",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="of that engine's arithmetic (default: fp32)",
    )


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 60 or 60000/1001")
    return rate


def _seconds(text: str) -> Fraction:
    try:
        seconds = Fraction(text) if len(text) <= LONGEST_NUMBER and "e" not in text.lower() else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text[:LONGEST_NUMBER]!r} is no number of seconds such as 3 or 0.5")
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
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes such as 8G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _trace(text: str) -> Path:
    if (path := Path(text)).suffix not in ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in {' nor in '.join(ENDINGS)}")
    return path


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def _clip(text: str) -> int:
    if _positive(text) < 2:
        raise argparse.ArgumentTypeError("a clip has at least two frames")
    return int(text)
